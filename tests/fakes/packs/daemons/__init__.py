"""A pack that leaves programs behind, each the child of nobody that it knows."""

import subprocess


class Leave:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT",), "seed": ("INT",)}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    CATEGORY = "daemons"
    OUTPUT_NODE = True

    def run(self, count, seed):
        for _number in range(count):
            subprocess.run(["sh", "-c", "sleep 4321 &"], check=True)
        return {"ui": {"left": [count]}, "result": (count,)}


NODE_CLASS_MAPPINGS = {"DaemonsLeave": Leave}
