"""A node pack that applies and reverts the hardening inside a ComfyUI that has none of it.

ComfyUI loads this file as a pack of its own, when its server is made and does not serve yet.
``$ZIMAGE_TEST_PACK`` is where the hardening is; what was found goes to ``$ZIMAGE_TEST_FOUND``.
"""

import importlib
import importlib.util
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {
        "width": 16, "height": 16, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}  # fmt: skip


def load(folder: str, name: str) -> Any:
    """A package by path."""
    spec = importlib.util.spec_from_file_location(
        name, f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def host(seams: dict[str, list[Any]]) -> dict[str, Any]:
    """What stands at each seam now, and the server's queue."""
    server = sys.modules["server"].PromptServer.instance
    found = {"queue": server.prompt_queue, "put": vars(server.prompt_queue).get("put")}
    for seam in [one for several in seams.values() for one in several]:
        try:
            found[str(seam)] = vars(seam.owner())[seam.name]
        except Exception:  # noqa: BLE001 - the host has no such thing
            found[str(seam)] = None
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether these are the very same functions."""
    return all(one[name] is other[name] for name in one)


def one_part(parts: Any, name: str, seams: dict[str, list[Any]]) -> dict[str, Any]:
    """A part is applied twice and reverted twice."""
    part, before = parts.create(name), host(seams)
    part.apply()
    active, once = part.active, host(seams)
    part.apply()
    twice = host(seams)
    part.revert()
    part.revert()
    return {
        "active": active, "changes": not same(before, once), "again": same(once, twice),
        "as before": same(before, host(seams)) and not part.active,
    }  # fmt: skip


def all_but(parts: Any, name: str, seams: dict[str, list[Any]]) -> dict[str, Any]:
    """Every part but one is applied, a prompt runs as the host's worker runs it."""
    registry = type(parts.registry)()
    before = host(seams)
    registry.apply({name}, parts.create)
    statuses = {name: state["status"] for name, state in registry.describe().items()}
    execution, server = sys.modules["execution"], sys.modules["server"].PromptServer.instance
    queue = server.prompt_queue
    executor = execution.PromptExecutor(
        server, cache_type=execution.CacheType.CLASSIC, cache_args={"lru": 0, "ram": 0}
    )
    try:
        queue.put((0, f"without {name}", PROMPT, {}, ["2"], {}))
        item, number = queue.get(timeout=1)
        executor.execute(item[2], item[1], item[3], item[4])
        status = queue.ExecutionStatus("success", executor.success, executor.status_messages)
        queue.task_done(number, executor.history_result, status, lambda prompt: prompt[:5])
        entry = queue.get_history(item[1])[item[1]]
        queue.get_flags()
    finally:
        registry.revert()
    return {
        "statuses": statuses,
        "pictures": len(entry["outputs"]["2"]["images"]),
        "completed": entry["status"]["completed"],
        "as before": same(before, host(seams)),
    }


def work(found: dict[str, Any]) -> None:
    """Everything, one after the other, as the worker's thread would."""
    pack = "zimage_parts"
    load(os.environ["ZIMAGE_TEST_PACK"], pack)
    registry = importlib.import_module(f"{pack}.patches.base.registry")
    helper = load_file(Path(os.environ["ZIMAGE_TEST_PACK"]) / "tests" / "fakes" / "seams.py")
    seams = helper.seams(registry)
    settings = importlib.import_module(f"{pack}.config").Settings.from_environment()
    server = sys.modules["server"].PromptServer.instance
    install = importlib.import_module(f"{pack}.patches.install")
    parts = install.Parts(server, settings, registry.Registry())
    found["middlewares"] = [
        getattr(getattr(middleware, "__self__", None), "name", "host")
        for middleware in server.app.middlewares
    ]
    for name in registry.NAMES:
        for how, act in (("one", one_part), ("without", all_but)):
            try:
                found[f"{how} {name}"] = act(parts, name, seams)
            except Exception:  # noqa: BLE001 - told
                found[f"{how} {name}"] = {"error": traceback.format_exc()}


def load_file(path: Path) -> Any:
    """A module by path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FOUND: dict[str, Any] = {}
thread = threading.Thread(target=work, args=(FOUND,), name="prompt_worker of a test")
thread.start()
thread.join()  # the executor has a loop of its own, and here one runs already
Path(os.environ["ZIMAGE_TEST_FOUND"]).write_text(json.dumps(FOUND), encoding="utf-8")
NODE_CLASS_MAPPINGS: dict[str, Any] = {}
