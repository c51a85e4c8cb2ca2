"""The Kubernetes operator of Currant.

`plan` decides, without I/O. `cluster` (the API server) and `database` (Postgres) do I/O, and know nothing of each
other. `reconcile` observes, has the plan made, and carries it out. `app` starts and ends the process.
"""
