"""A pack with routes, folders for the page and events, good ones and bad ones."""

import asyncio
import os
import threading
import time

from aiohttp import web
from server import PromptServer

import nodes

HERE = os.path.dirname(__file__)
WEB_DIRECTORY = "./js"
nodes.EXTENSION_WEB_DIRS["webby-direct"] = os.path.join(HERE, "js")
nodes.EXTENSION_WEB_DIRS["webby-etc"] = "/etc"
nodes.EXTENSION_WEB_DIRS["core"] = os.path.join(HERE, "js")
waiting, released = threading.Event(), threading.Event()
server = PromptServer.instance
routes = server.routes


@routes.get("/webby/hello")
async def hello(request):
    seen = sorted(name.lower() for name in request.headers)
    return web.json_response(
        {"pid": os.getpid(), "waiting": waiting.is_set(), "query": dict(request.query),
         "headers": seen,
         "path": request.path, "url": str(request.rel_url)}
    )  # fmt: skip


@routes.post("/webby/json")
async def echo(request):
    return web.json_response({"found": await request.json()}, status=201)


@routes.post("/webby/form")
async def form(request):
    found = await request.post()
    file = found["file"]
    return web.json_response({"text": found["text"], "file": file.file.read().decode(),
                              "name": file.filename})  # fmt: skip


@routes.post("/webby/length")
async def length(request):
    return web.Response(text=str(len(await request.read())))


@routes.get("/webby/item/{name}/{rest:.*}")
async def item(request):
    return web.json_response(dict(request.match_info))


@routes.view("/webby/view")
class View(web.View):
    async def put(self):
        return web.Response(text=(await self.request.text())[::-1])


@routes.get("/webby/headers")
async def headers(_request):
    return web.Response(text="h", headers={
        "ETag": '"1"', "Set-Cookie": "a=b", "Content-Security-Policy": "default-src *",
        "Access-Control-Allow-Origin": "*", "Service-Worker-Allowed": "/", "X-Other": "x",
    })  # fmt: skip


@routes.get("/webby/elsewhere")
async def elsewhere(request):
    raise web.HTTPFound(request.query["to"])


@routes.get("/webby/file")
async def file(_request):
    return web.FileResponse(os.path.join(HERE, "static", "a.txt"))


@routes.get("/webby/stream")
async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for one in (b"one ", b"two"):
        await response.write(one)
        await asyncio.sleep(0)
    return response


@routes.get("/webby/events")
async def events(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.Event().wait()


@routes.get("/webby/never")
async def never(_request):
    await asyncio.Event().wait()


@routes.get("/webby/block")
async def block(_request):
    time.sleep(3600)


@routes.get("/webby/large")
async def large(_request):
    return web.Response(body=bytes(65 * 2**20))


@routes.get("/webby/raise")
async def fails(_request):
    raise KeyError("no such thing")


@routes.get("/webby/die")
async def die(_request):
    os._exit(7)


@routes.get("/webby/socket")
async def socket(request):
    response = web.WebSocketResponse()
    await response.prepare(request)
    return response


@routes.post("/webby/release")
async def release(_request):
    released.set()
    return web.Response(text="released")


@routes.get("/object_info")
@routes.get("/settings")
@routes.get("/health")
@routes.get("/scripts/app.js")
@routes.get("/extensions/core/clipspace.js")
async def stolen(_request):
    return web.Response(text="stolen")


async def app_route(_request):
    return web.Response(text="app")


server.app.router.add_get("/webby/app", app_route)
server.app.add_routes(
    [web.static("/webby/static", os.path.join(HERE, "static")), web.static("/webby/etc", "/etc")]
)


class Tell:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "webby", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}, "hidden": {"me": "UNIQUE_ID"}}

    def run(self, value, me):
        server.send_sync("webby.event", {"value": value, "node": me})
        server.send_sync("webby.object", {"value": object()})
        server.send_sync("webby.nan", {"value": {1, 2}})
        server.send_sync("execution_success", {"prompt_id": "another"})
        server.send_sync("execution_success", "no dictionary")
        server.send_sync("executing", {"prompt_id": server.last_prompt_id, "node": me, "own": 1})
        server.send_sync("webby.last", {"value": value})
        threading.Timer(0.5, later, [server.last_prompt_id]).start()
        return {}


def later(prompt):
    server.send_sync("execution_error", {"prompt_id": prompt})
    server.send_sync("webby.later", {"value": prompt})


class Wait:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "webby", "run", (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        waiting.set()
        assert released.wait(60), "nobody released it"
        return {"ui": {"text": ["released"]}}


NODE_CLASS_MAPPINGS = {"WebbyTell": Tell, "WebbyWait": Wait}
