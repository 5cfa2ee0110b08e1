"""The host's side: worker processes, calls to them, and what they may ask of the host."""
