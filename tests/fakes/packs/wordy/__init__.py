"""A pack with a node whose name is a megabyte."""


class Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    def run(self):
        return (1,)


NODE_CLASS_MAPPINGS = {"Wordy": Node, "W" * 2**20: Node}
