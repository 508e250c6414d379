"""A cache in Redis that nothing depends on."""
