"""Hand the running prompt over to the next process of a guarded server."""

from __future__ import annotations

import threading

from . import comfyui, guardian

WORKER = "prompt_worker"
"""The host names its worker thread after this function."""


class PromptHandedOver(BaseException):
    """Ends the work on a prompt that the next process runs.

    It is no ``Exception``, so that no node catches it.
    """


def hand_over(reason: str) -> None:
    """Have the running prompt run in the next process, and ask the guardian for that process.

    The function returns where the prompt has to run here: no guardian could replace this process,
    the queue is not durable, the prompt has keys that are in memory only, or the prompt is the
    first of this process, so that another process is no better. The last rule guarantees progress:
    each process ends at least one prompt before it hands one over.

    Raises:
        PromptHandedOver: the prompt runs in the next process, and no other prompt starts here.
    """
    if WORKER not in threading.current_thread().name or not guardian.is_heard():
        return
    queue = comfyui.server().prompt_queue
    with queue.mutex:
        secret = any(item[5:6] and item[5] for item in queue.currently_running.values())
        if secret or queue.task_counter <= 1 or not hasattr(queue, "hand_over"):
            return
        if not guardian.ask_to_be_replaced(reason):
            return
        queue.hand_over()
    raise PromptHandedOver(reason)
