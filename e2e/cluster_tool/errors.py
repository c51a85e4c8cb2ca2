"""The one kind of error that a person is meant to read."""

from __future__ import annotations


class ClusterError(Exception):
    """Something that the caller can mend; the message is one line that says how."""
