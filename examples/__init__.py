"""Examples, each short enough to copy. Each says at its top which worker it needs."""
