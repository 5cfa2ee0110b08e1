"""The drill: faults at random moments on a real server under load, and a check of every result."""
