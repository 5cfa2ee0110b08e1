"""How packs enter ComfyUI: the loader, the proxy nodes, stored descriptions. Runs in the host."""
