"""The pack in our sandbox, for ``sandbox``: with the supervisor, without a server."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common
from _sandbox_measure import UnsupportedError, private_bytes, serve

PACK = Path(__file__).parent / "_sandbox" / "pack"


def _host_object() -> Any:
    """Return an object of the host with ``get_node``, which packs may call on a prompt."""
    from comfy_execution.graph import DynamicPrompt

    class Prompt(DynamicPrompt):
        seconds_per_call = 0.0

        def get_node(self, what: str, function: Any = None, count: int = 0) -> int:
            """Answer, or call a function of the pack."""
            if what == "call":
                began = time.perf_counter()
                for index in range(count):
                    function(index)
                self.seconds_per_call = (time.perf_counter() - began) / count
            return 1

    return Prompt({})


class Ours:
    """A supervisor with one pack and the default confinement."""

    def __init__(self, folder: Path) -> None:
        from zimage_comfyui.sandbox.host.supervisor import Supervisor
        from zimage_comfyui.sandbox.policy.policy import Policy

        self.supervisor = Supervisor(Policy(), folder)
        self.pack = self.supervisor.add(str(PACK), frozenset())
        self.host = _host_object()
        self.instances: dict[str, int] = {}
        self.details: dict[str, Any] = {}

    async def start(self) -> None:
        """Fork a worker from the template; the first call also starts the template."""
        self.pack.discover()
        await self.echo(1)
        if not self.details:
            session = self.pack.session
            assert session is not None
            report = session.report or {}
            template = session.process.template
            self.details = {
                "template_seconds": template.start_seconds,
                "template_private_bytes": private_bytes(template.process.pid),
                "confinement": {name: part.get("state", "?") for name, part in report.items()},
            }

    async def start_in_view(self, again: bool) -> float:
        """Return the seconds until a worker in bubblewrap has responded.

        Args:
            again: whether the template of the pack runs already and has imported ComfyUI.
        """
        from zimage_comfyui.sandbox.confinement import bubblewrap
        from zimage_comfyui.sandbox.host.supervisor import Supervisor
        from zimage_comfyui.sandbox.policy.policy import PackRule, Policy

        if (outcome := bubblewrap.available()).state != "applied":
            raise UnsupportedError(outcome.reason)
        supervisor = Supervisor(Policy(default=PackRule(bubblewrap=True)), self.supervisor.home)
        pack = supervisor.add(str(PACK), frozenset())
        seconds = 0.0
        try:
            for _ in range(1 + again):
                pack.stop()
                began = time.perf_counter()
                pack.discover()
                pack.node("Echo", "run", 1, {"value": 1})
                seconds = time.perf_counter() - began
        finally:
            supervisor.stop()
        return seconds

    async def stop(self) -> None:
        """Stop the worker, not the template."""
        self.pack.stop()
        self.pack.lift()

    def pid(self) -> int:
        """Return the process id of the worker."""
        assert self.pack.process is not None
        return self.pack.process.pid

    def _run(self, node: str, **arguments: Any) -> Any:
        instance = self.instances.setdefault(node, len(self.instances) + 1)
        return self.pack.node(node, "run", instance, arguments)[0]

    async def echo(self, value: int) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("Echo", value=value)

    async def first(self, tensor: Any) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("First", tensor=tensor)

    async def add(self, tensor: Any) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("Add", tensor=tensor)

    async def die(self) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        self._run("Die")

    async def ask(self, count: int) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        self._run("Ask", host=self.host, count=count)

    async def serve(self, count: int) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        self._run("Serve", host=self.host, count=count)
        return self.host.seconds_per_call


def main() -> None:
    """Import ComfyUI's modules as its server does, then run the measurements."""
    _common.load_pack()
    sys.path.insert(0, os.environ["ZIMAGE_COMFYUI_DIR"])
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    for name in ("utils.extra_config", "execution", "server"):  # in the order of main.py
        importlib.import_module(name)
    import folder_paths

    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        folder_paths.set_user_directory(str(Path(folder) / "user"))
        home = Path(folder_paths.get_user_directory(), "__zimage", "sandboxes")
        home.mkdir(parents=True)  # as the server does
        ours = Ours(home)
        serve(ours)
        ours.supervisor.stop()


if __name__ == "__main__":
    main()
