"""Pure values and rules of the lab: no I/O, no clock, no imports from the outer rooms."""
