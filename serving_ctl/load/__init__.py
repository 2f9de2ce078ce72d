"""The load engine: sends requests from its own processes and records their times. Knows HTTP, nothing of models."""
