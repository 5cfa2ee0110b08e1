"""Check of workflows without running them, and conversion to API form. Needs no ComfyUI."""
