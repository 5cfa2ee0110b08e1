"""The server's side of the guardian."""
