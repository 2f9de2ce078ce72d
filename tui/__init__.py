"""The terminal UI. Textual lives here and nowhere else."""
