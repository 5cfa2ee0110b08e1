"""Free space, old outputs, alerts."""
