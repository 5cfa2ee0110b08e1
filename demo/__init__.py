"""The small models: their world, training and checks."""
