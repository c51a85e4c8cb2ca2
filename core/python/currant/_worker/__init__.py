"""Parts of the worker: threads, forks, signals, the build it runs, its logs."""
