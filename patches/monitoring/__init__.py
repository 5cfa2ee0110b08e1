"""Health, metrics, logs and the panel's data."""
