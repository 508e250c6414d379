"""A cache in Redis that nothing depends on: without it everything is slower and nothing is different."""
