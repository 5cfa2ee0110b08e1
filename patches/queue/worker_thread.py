"""The worker thread outlives whatever a node or the clean-up after it does.

- ``SystemExit`` is no ``Exception``: the host's executor lets ``sys.exit()`` of a node through, its
  worker thread ends without a word, and every later prompt waits for ever. It becomes an ordinary
  failure of that node. An interrupt, which is none in newer hosts either, stays what it is.
- After an error that CUDA does not get over, every later prompt of this process would fail. When
  the prompt has ended, the guardian is asked for another process.
- What else gets out of the executor, or out of the freeing of memory after it (a CUDA error does),
  ends the thread too. The running prompt ends as failed and the worker begins anew.

Other parts end a running prompt here, or leave it to the next process (:func:`leave`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from ...errors import SANDBOXED, ZImageError
from ..base import comfyui
from ..base.hooks import Argument, HookPoint, Patch, Patches
from ..guardian_client import link
from .prompt_events import Status, client, failure, interrupted, is_interrupt

log = logging.getLogger(__name__)

NODES = HookPoint("execution", "_async_map_node_over_list", ("obj",))
WORKER = HookPoint("__main__", "prompt_worker", ("q",))
TO_ALL = frozenset({"execution_interrupted"})
"""What the host tells every page where a prompt came without a client."""


class PromptHandedOver(BaseException):
    """Ends the work on a prompt that the next process does; no error that a node may catch."""


LASTING = ("CUDA error:", "HIP error:")
"""What torch begins such errors with."""


def create() -> Patches:
    """Both patches."""
    return Patches(Patch(NODES, _nodes), Patch(WORKER, _worker))


def _nodes(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    node = Argument(original, "obj")

    async def nodes(*arguments: Any, **named: Any) -> Any:
        try:
            return await original(*arguments, **named)
        except (Exception, asyncio.CancelledError, PromptHandedOver) as error:
            _look(error)
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            obj = node.of(arguments, named)
            name = getattr(obj, "__name__", type(obj).__name__)
            raise ZImageError("ZI-NODE-EXIT", found=repr(error), name=name) from error

    return nodes


def _worker(original: Callable[..., None]) -> Callable[..., None]:
    queue = Argument(original, "q")

    def worker(*arguments: Any, **named: Any) -> None:
        q = queue.of(arguments, named)
        while True:
            try:
                return original(*arguments, **named)
            except PromptHandedOver as error:
                log.warning("Z-Image: a prompt is left to the next process: %s", error)
            except BaseException as error:
                if is_interrupt(error):
                    log.warning("Z-Image: a prompt was interrupted beside its nodes")
                    _interrupted(q)
                    continue
                log.exception("Z-Image: the worker failed and begins anew")
                _look(error)
                abandon(q, _why(q, error))

    return worker


def _look(error: BaseException) -> None:
    """Note what CUDA does not get over. A failed assertion of a kernel is the prompt's fault, and a
    pack in a sandbox, which can say anything, has a CUDA of its own."""
    if hasattr(error, SANDBOXED):
        return
    text = str(error).partition("\n")[0]
    if text.startswith(LASTING) and "out of memory" not in text:
        log.error("Z-Image: nothing works on the GPU until the server starts anew: %s", text)
        link.fails("kill" if "device-side assert" in text else "sick", text)


def _why(queue: Any, error: BaseException) -> ZImageError:
    """A prompt outlives its server; the next may have fewer packs, and the host does not look."""
    known = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})
    with queue.mutex:
        graphs = [item[2] for item in queue.currently_running.values()]
    nodes = [node for graph in graphs for node in graph.values() if isinstance(node, dict)]
    used = {str(node.get("class_type")) for node in nodes}
    if isinstance(error, KeyError) and used - known.keys():
        return ZImageError("ZI-NODE-GONE", name=", ".join(sorted(used - known.keys())))
    return ZImageError("ZI-WORKER", found=f"{type(error).__name__}: {error}")


def abandon(queue: Any, error: ZImageError) -> None:
    """End every running prompt of a queue as failed."""
    _end_all(queue, lambda item: failure(item[1], error))


def _interrupted(queue: Any) -> None:
    """End every running prompt of a queue as interrupted, as the host's executor does."""
    _end_all(queue, lambda item: interrupted(queue.server, item))


def _end_all(queue: Any, status: Callable[[tuple[Any, ...]], Status]) -> None:
    with queue.mutex:
        running = dict(queue.currently_running)
    for number, item in running.items():
        end(queue, number, status(item))


def end(queue: Any, number: int, status: Status) -> None:
    """End a running prompt in its executor's stead, unless it has ended by itself.

    Args:
        number: the queue's own of this run, which no other prompt gets.
    """
    with queue.mutex:
        if number not in queue.currently_running:
            return
        item = queue.currently_running[number]
        nothing = {"outputs": {}, "meta": {}}
        queue.task_done(number, nothing, status, lambda prompt: prompt[:5])
    to = client({"prompt": item})
    for event, data in (*status.messages[-1:], ("executing", {"node": None, "prompt_id": item[1]})):
        if to is not None or event in TO_ALL:
            queue.server.send_sync(event, data, to)
    if hasattr(queue, "settle"):  # the durable one: this process may end now
        queue.settle()


def leave(why: str) -> None:
    """Have the running prompt run in the next process, and ask the guardian for that.

    Returns where it has to run here: nobody could replace this process or keep the queue; keys of
    the prompt are in memory alone; or it is the first in this process, so that another process is
    no better. The last is why nothing is left for ever: one prompt has ended for each that is left.

    Raises:
        PromptHandedOver: it runs here no more, and nothing else does.
    """
    if WORKER.name not in threading.current_thread().name or not link.is_heard():
        return
    queue = comfyui.server().prompt_queue
    with queue.mutex:
        secret = any(item[5:6] and item[5] for item in queue.currently_running.values())
        if secret or queue.task_counter <= 1 or not hasattr(queue, "hand_over"):
            return
        if not link.ask_to_be_replaced(why):
            return
        queue.hand_over()
    raise PromptHandedOver(why)
