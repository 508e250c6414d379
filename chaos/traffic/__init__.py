"""Steady, seeded background load, so that a fault has somebody to hurt."""
