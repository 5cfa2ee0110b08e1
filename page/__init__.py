"""HTTP requests of ComfyUI's page to the pack: templates, token counts, workflow checks."""
