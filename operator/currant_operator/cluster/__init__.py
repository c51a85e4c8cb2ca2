"""The API server: calls, what was seen of it, secrets, events, the lease."""
