"""Main memory and VRAM: checks before a prompt, measurements, unloading."""
