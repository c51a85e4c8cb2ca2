"""The API server: calls, the cache of its objects, secrets, events, the lease."""
