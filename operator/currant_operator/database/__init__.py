"""The databases of the pools: one object for each, with a thread of its own."""
