"""Registered functions: when a second one may take the name of the first."""
