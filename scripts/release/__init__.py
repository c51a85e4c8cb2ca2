"""A release: `make dist` builds and tests all that it needs, as docs/internals/releasing.md describes."""
