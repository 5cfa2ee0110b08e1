"""The base of every part: hooks into the host, the list of parts, the running server."""
