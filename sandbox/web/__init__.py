"""Routes, files, events and state of packs in sandboxes. Runs in the host."""
