"""The work on one object (observe, plan, carry out), and the watches and the queue that start it."""
