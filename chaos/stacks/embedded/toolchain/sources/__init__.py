"""Where programs come from, one file per source."""
