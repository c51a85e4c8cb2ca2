"""What should be, decided from what was observed. Pure: no I/O, no clock."""
