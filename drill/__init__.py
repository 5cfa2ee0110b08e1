"""A drill: a real server under load, faults at random moments, and every acknowledgement kept."""
