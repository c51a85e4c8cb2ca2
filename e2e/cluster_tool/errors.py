"""The errors that are written for a person."""

from __future__ import annotations


class ClusterError(Exception):
    """An error that the caller can fix; the message is one line that says how."""
