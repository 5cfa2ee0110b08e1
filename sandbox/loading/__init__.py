"""How packs of sandboxes are loaded in ComfyUI: interception, descriptions, proxy nodes."""
