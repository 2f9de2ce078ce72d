"""Lifecycle: how a server is started, watched, explained and stopped."""
