"""The code behind `e2e/cluster`: a real Kubernetes for tests, from kind or from native processes. See `e2e/README.md`.

Standard library only: it runs before anything has been installed.
"""
