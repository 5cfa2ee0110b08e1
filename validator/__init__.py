"""Checks workflows without running them, and converts them to API form. No torch, no ComfyUI."""
