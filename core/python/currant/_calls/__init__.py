"""Durable calls as they are stored: their options, their retry policy, and the ranges of both."""
