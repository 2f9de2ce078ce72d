"""The load engine: sends requests from its own processes and records how long they took. Knows HTTP, nothing of models."""
