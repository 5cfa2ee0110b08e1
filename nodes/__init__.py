"""The nodes: thin, one noun per file; what they do is in :mod:`..engine`."""
