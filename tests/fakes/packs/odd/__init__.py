"""A pack with a sound node, and others that no server can do anything with."""


class Sound:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": ("STRING", {"default": ""})}}

    RETURN_TYPES = ("INT", "STRING")
    FUNCTION = "run"
    CATEGORY = "odd"
    OUTPUT_NODE = True

    def run(self, what):
        return {
            "number": 5,
            "nothing": None,
            "few": (1,),
            "strange": {"ui": 3, "result": (1, "a")},
            "text": "ab",
        }[what]


class NoInputs(Sound):
    INPUT_TYPES = 5


class RaisesInputs(Sound):
    @classmethod
    def INPUT_TYPES(cls):
        raise RuntimeError("no inputs today\n[core] ERROR forged")


class InputsAreNumbers(Sound):
    @classmethod
    def INPUT_TYPES(cls):
        return 7


class NoFunction(Sound):
    FUNCTION = "nowhere"


class FunctionIsANumber(Sound):
    FUNCTION = 12


class TypesAreObjects(Sound):
    RETURN_TYPES = (object(),)


NODE_CLASS_MAPPINGS = {
    "OddSound": Sound,
    "OddNoInputs": NoInputs,
    "OddRaisesInputs": RaisesInputs,
    "OddInputsAreNumbers": InputsAreNumbers,
    "OddNoFunction": NoFunction,
    "OddFunctionIsANumber": FunctionIsANumber,
    "OddTypesAreObjects": TypesAreObjects,
    "OddNoClass": Sound(),
    "Odd\nLines": Sound,
    4: Sound,
}
