"""The documents that say what was measured: rendered from a stored report, never written by hand."""
