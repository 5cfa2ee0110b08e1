"""What a request must pass before ComfyUI handles it, and how answers are sent."""
