"""What to measure, in which order, and what came of it so far."""
