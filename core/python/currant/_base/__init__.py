"""Helpers of all packages: checks of input, durations, names, printable text, errors of users' code."""
