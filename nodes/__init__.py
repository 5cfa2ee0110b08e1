"""The nodes, one for each file. They are thin: :mod:`..engine` has the logic."""
