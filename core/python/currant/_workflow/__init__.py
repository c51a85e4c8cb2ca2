"""One workflow in memory: its deterministic event loop, its steps, and its replay."""
