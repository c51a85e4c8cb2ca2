"""Examples, each short enough to copy. Start a worker for one with `python -m currant worker -q QUEUE -m examples.NAME`."""
