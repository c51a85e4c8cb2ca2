"""What all packages use and what knows nothing of Currant: checks, durations, printable text, errors of users' code."""
