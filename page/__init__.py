"""What the pack does for ComfyUI's page over HTTP: templates, token counts, findings."""
