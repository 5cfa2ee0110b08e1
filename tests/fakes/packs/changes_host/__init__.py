"""A pack that changes ComfyUI itself."""

import comfy.utils


def state_dict_prefix_replace(*args, **kwargs):
    return {}


comfy.utils.state_dict_prefix_replace = state_dict_prefix_replace


class Changer:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    RETURN_TYPES = ("INT",)
    FUNCTION = "run"

    def run(self):
        return (1,)


NODE_CLASS_MAPPINGS = {"HostChanger": Changer}
