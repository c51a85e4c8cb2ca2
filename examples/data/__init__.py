"""The demo's input, and the script that made it."""
