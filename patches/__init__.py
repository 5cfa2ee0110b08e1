"""Hardening of the ComfyUI server: one file per weak point, each undone as easily as applied."""
