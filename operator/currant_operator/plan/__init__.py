"""Decisions: from observations to what should be. Pure: no I/O, no clock."""
