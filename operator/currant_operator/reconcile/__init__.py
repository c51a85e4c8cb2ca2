"""What wakes the work on an object, and the work: observe, plan, carry out."""
