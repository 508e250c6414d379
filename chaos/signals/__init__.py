"""Signals: what can be observed of a stack, one file per kind."""
