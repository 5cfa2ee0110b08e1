"""Starts servers: with which number and mode, after which pause, with how much free GPU memory."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .gpu_memory import GpuMemoryCheck
from .launch_config import LaunchConfig
from .limits import Limits
from .logging import log_event
from .messages import MODES
from .mode import Mode
from .restart_policy import RestartPolicy
from .server import EndRequest, Server
from .server_process import ServerProcess

PAUSE_AFTER_FAILED_START = 1.0
"""The shortest pause, in seconds, after the system could not start a process."""


class Launcher:
    """Starts one server after another.

    Attributes:
        restarts: counts the crashes of active servers and chooses the mode.
        standby_restarts: counts those of servers on standby, which change no mode.
    """

    def __init__(self, config: LaunchConfig, limits: Limits, clock: Callable[[], float]) -> None:
        """Start nothing yet.

        Args:
            config: what to start.
            limits: when to pause and to degrade.
            clock: monotonic time.
        """
        self.config = config
        self.limits = limits
        self.clock = clock
        self.restarts = RestartPolicy(limits, config.gpu)
        self.standby_restarts = RestartPolicy(limits, gpu=False)
        self._gpu_memory = GpuMemoryCheck(limits, config.gpu)
        self._last_number = config.temporary.highest_number()
        self._next_start = 0.0

    def start(self) -> Server | None:
        """Start a server; None when the system has no memory or no process left for it."""
        number = self._next_number()
        mode = self.restarts.mode
        command = self.config.command(mode, self.config.temporary.folder_of(number))
        folder = self.config.working_folder
        try:
            process = ServerProcess.start(command, folder, self.config.env)
        except OSError as error:
            now = self.clock()
            pause = self.restarts.record_crash(0.0, now)
            self._next_start = now + max(pause, PAUSE_AFTER_FAILED_START)
            log_event("fork", error=error, level=logging.ERROR)
            return None
        log_event("spawn", mode=MODES[mode], pid=process.pid)
        return Server(process, number, mode, self.limits, self.clock)

    def adopt(self, pid: int, mode: Mode) -> Server:
        """Return the record of a server that an earlier guardian started.

        Args:
            pid: its process.
            mode: its mode, in which further servers start, too.

        Raises:
            ProcessLookupError: the process has ended.
        """
        process = ServerProcess(pid)
        self.restarts.adopt_mode(mode, self.clock())
        return Server(process, self._next_number(), mode, self.limits, self.clock)

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def may_start(self, now: float) -> bool:
        """Return whether the pause is over and the GPU has enough free memory.

        Args:
            now: monotonic time.
        """
        if now < self._next_start:
            self.cancel()
            return False
        if self.restarts.mode is Mode.CPU:
            return True
        check = self._gpu_memory
        was_waiting = check.is_waiting
        may = check.may_start(now)
        if check.is_waiting and check.free is not None:
            if may:
                log_event("gpu full", free=check.free, level=logging.WARNING)
            elif not was_waiting:
                log_event(
                    "gpu",
                    free=check.free,
                    needed=self.limits.gpu_free,
                    seconds=self.limits.gpu_wait,
                    level=logging.WARNING,
                )
        return may

    def cancel(self) -> None:
        """Stop waiting for GPU memory, since no server is to start."""
        self._gpu_memory.cancel()

    def record_crash(self, server: Server, is_standby: bool, ran_prompts: bool) -> None:
        """Choose the pause before the next start.

        Args:
            server: the server that crashed.
            is_standby: whether another server is active.
            ran_prompts: whether prompts ran in it.
        """
        now = self.clock()
        activated_at = server.activated_at
        policy = self.standby_restarts if is_standby else self.restarts
        if server.end_request is EndRequest.GPU_FAILED:
            pause = policy.record_gpu_failure(now)
        else:
            lived = now - activated_at if activated_at is not None else 0.0
            during_prompt = ran_prompts or server.end_request is not None
            pause = policy.record_crash(lived, now, during_prompt)
        self._next_start = now + pause
        if pause:
            log_event("pause", seconds=pause, mode=MODES[self.restarts.mode])
