"""The host's worker thread survives whatever a node, or the code after it, raises.

- ``SystemExit`` is no ``Exception``: the host's executor does not catch a ``sys.exit()`` of a node,
  so its worker thread ends silently and every later prompt waits forever. Here it becomes an
  ordinary error of that node. An interrupt, which is no ``Exception`` in newer hosts either, is
  raised unchanged.
- After some errors of CUDA every later prompt of this process would fail. When the prompt has
  ended, the guardian is asked for another process.
- Any other exception that leaves the executor, or the code that frees memory after it (a CUDA
  error does), ends the thread too. Here the running prompt ends as failed and the loop starts
  again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

from ...errors import SANDBOXED, ZImageError
from ..base import guardian, lifecycle
from ..base.handover import PromptHandedOver
from ..base.hooks import Argument, Function, Patches
from ..base.lifecycle import Subscription
from ..base.prompt_outcome import Status, client_id_of, failure, interrupted, is_interrupt
from ..base.registry import About

log = logging.getLogger(__name__)

ABOUT = About(
    part="worker",
    bare_host=(
        "`sys.exit()` in a node, or an error while memory is freed, ends the worker thread; later"
        " prompts wait forever."
    ),
    here="The prompt fails with a code, and the worker thread starts again.",
)
NODE = lifecycle.NODE_RUNS.needs("obj")
WORKER = lifecycle.WORKER_RUNS.needs("q")
TO_ALL = frozenset({"execution_interrupted"})
"""Events that the host sends to every page when a prompt came without a client."""
CUDA_ERRORS = ("CUDA error:", "HIP error:")
"""How torch begins the messages of such errors."""


def create() -> Patches:
    """Return the part."""
    return Patches(
        Subscription("worker", NODE, translate_exits), Subscription("worker", WORKER, keep_running)
    )


def translate_exits(original: Function) -> Function:
    """Wrap a node: turn its exit into an error with a code."""
    node = Argument(original, "obj")

    async def run_node(*arguments: Any, **named: Any) -> Any:
        try:
            return await original(*arguments, **named)
        except (Exception, asyncio.CancelledError, PromptHandedOver) as error:
            report_gpu_failure(error)
            raise
        except BaseException as error:
            if is_interrupt(error):
                raise
            obj = node.of(arguments, named)
            name = getattr(obj, "__name__", type(obj).__name__)
            raise ZImageError("ZI-NODE-EXIT", found=repr(error), name=name) from error

    return run_node


def keep_running(original: Function) -> Function:
    """Wrap the worker's loop: start it again after an error."""
    queue_argument = Argument(original, "q")

    def run_worker(*arguments: Any, **named: Any) -> None:
        queue = queue_argument.of(arguments, named)
        while True:
            try:
                return original(*arguments, **named)
            except PromptHandedOver as error:
                log.warning("Z-Image: the next process runs a prompt: %s", error)
            except BaseException as error:
                if is_interrupt(error):
                    log.warning("Z-Image: a prompt was interrupted outside of its nodes")
                    _interrupt_running(queue)
                    continue
                log.exception("Z-Image: the worker failed and starts again")
                report_gpu_failure(error)
                fail_running(queue, _explain(queue, error))

    return run_worker


def report_gpu_failure(error: BaseException) -> None:
    """Ask for another process after an error that makes the GPU unusable for this one.

    The prompt itself causes a failed assertion in a GPU kernel, so the guardian kills this process.
    Errors from a sandbox are ignored: its process has a CUDA context of its own, and its pack can
    raise any text.
    """
    if hasattr(error, SANDBOXED):
        return
    text = str(error).partition("\n")[0]
    if text.startswith(CUDA_ERRORS) and "out of memory" not in text:
        log.error("Z-Image: nothing works on the GPU until the server starts again: %s", text)
        request = "kill" if "device-side assert" in text else "sick"
        guardian.report_failure(request, text)


def _explain(queue: Any, error: BaseException) -> ZImageError:
    """Return the error of a prompt whose worker failed.

    A stored prompt can run in a server that was started with fewer packs. The host does not check
    the classes of its nodes again.
    """
    known = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {})
    with queue.mutex:
        graphs = [item[2] for item in queue.currently_running.values()]
    nodes = [node for graph in graphs for node in graph.values() if isinstance(node, dict)]
    used = {str(node.get("class_type")) for node in nodes}
    if isinstance(error, KeyError) and used - known.keys():
        return ZImageError("ZI-NODE-GONE", name=", ".join(sorted(used - known.keys())))
    return ZImageError("ZI-WORKER", found=f"{type(error).__name__}: {error}")


def fail_running(queue: Any, error: ZImageError) -> None:
    """End every running prompt of a queue as failed."""
    _end_running(queue, lambda item: failure(item[1], error))


def _interrupt_running(queue: Any) -> None:
    """End every running prompt of a queue as interrupted, as the host's executor does."""
    _end_running(queue, lambda item: interrupted(queue.server, item))


def _end_running(queue: Any, status: Callable[[tuple[Any, ...]], Status]) -> None:
    with queue.mutex:
        running = dict(queue.currently_running)
    for number, item in running.items():
        end_prompt(queue, number, status(item))


def end_prompt(queue: Any, number: int, status: Status) -> None:
    """End a running prompt instead of its executor, unless it has already ended.

    Args:
        queue: the server's queue.
        number: key of the prompt in ``currently_running``, which no other prompt gets.
        status: how the prompt ends.
    """
    with queue.mutex:
        if number not in queue.currently_running:
            return
        item = queue.currently_running[number]
        result = {"outputs": {}, "meta": {}}
        # The host, too, stores a prompt without what follows: API keys.
        queue.task_done(number, result, status, lambda prompt: prompt[:5])
    recipient = client_id_of({"prompt": item})
    last = ("executing", {"node": None, "prompt_id": item[1]})
    for event, data in (*status.messages[-1:], last):
        if recipient is not None or event in TO_ALL:
            queue.server.send_sync(event, data, recipient)
