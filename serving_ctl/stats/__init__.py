"""Pure functions on numbers; rule numbers are those of the methodology."""
