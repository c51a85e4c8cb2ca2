"""What every package uses and what knows nothing of Currant: checks, durations, printable text, errors of users' code."""
