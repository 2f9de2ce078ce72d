"""How a served model is asked things: REST, metadata, metrics. httpx; never in a measured path."""
