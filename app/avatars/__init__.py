"""Avatars from prompts and images, moderated."""
