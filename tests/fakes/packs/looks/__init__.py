"""A pack that looks around."""

import json
import os


class LooksAround:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "look", "looks", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"path": ("STRING", {}), "again": ("INT", {})}}

    def look(self, path, again):
        try:
            size = os.stat(path).st_size
        except OSError as error:
            size = type(error).__name__
        with open(os.path.join(os.environ["HOME"], "kept.txt"), "a") as file:
            file.write("x")
        found = {
            "size": size,
            "pid": os.getpid(),
            "kept": os.path.getsize(file.name),
        }
        return {"ui": {"text": [json.dumps(found)]}}


NODE_CLASS_MAPPINGS = {"LooksAround": LooksAround}
