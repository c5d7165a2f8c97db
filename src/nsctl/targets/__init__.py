"""TARGET: what a user may write in place of a PID, and what it leads to."""
