"""What both sides of a sandbox share: messages, values, shared memory. Imports neither side."""
