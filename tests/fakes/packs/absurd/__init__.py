"""A pack that describes itself absurdly."""


class Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    def run(self):
        return (1,)


NODE_CLASS_MAPPINGS = {f"Absurd{number}": Node for number in range(10_000)}
NODE_CLASS_MAPPINGS["A" * 2**20] = Node
