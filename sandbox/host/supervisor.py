"""All sandboxes of this server: their template, their processes, what is due every second."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..confinement import ConfinementReport, Jail, bubblewrap
from ..loading.description_cache import Descriptions
from ..policy.grants import comfyui, environment, jail
from ..policy.policy import GIB, Policy, variables
from ..protocol import buffer_pool
from ..protocol import messages as m
from .dispatch import answer
from .log_capture import Output, Pump
from .pack import Pack
from .process import Process
from .template_client import Parent

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
TEMPLATE = "template"
"""The folder of what is no pack's."""


class Supervisor:
    """The sandboxes of one server.

    Args:
        policy: which packs run where.
        home: folder for what sandboxes keep, in ComfyUI's user folder.
    """

    def __init__(self, policy: Policy, home: Path) -> None:
        self.policy, self.home = policy, home
        self.rule = policy.rule
        self.descriptions = Descriptions(home.parent / "descriptions")
        self.packs: dict[str, Pack] = {}
        self.paths: dict[str, tuple[str, frozenset[str]]] = {}
        self._parents: dict[str, Parent] = {}
        self._lock = threading.Lock()
        self._pump = Pump()
        self._output = Output("sandboxes")
        self._pump.add(self._output)

    def add(self, path: str, ignore: frozenset[str]) -> Pack:
        """The pack of a folder or file."""
        called, name = name_of(path), self._name(path)
        output = Output(name)
        self._pump.add(output)
        pack = Pack(name, self.policy.rule(called), self._start, output, called=called)
        self.packs[name], self.paths[name] = pack, (path, ignore)
        threading.Thread(
            target=self._tend, args=(pack,), name="zimage-sandbox", daemon=True
        ).start()
        return pack

    def _name(self, path: str) -> str:
        """What no other pack is called here: its folders, routes and description are its own.

        ComfyUI goes through its folders of packs in one order, so names stay what they are.
        """
        called = name_of(path)
        if called != TEMPLATE and self.paths.get(called, (path,))[0] == path:
            return called
        name = f"{called}-{hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:8]}"
        log.info("Z-Image: %s is called %s, since that name is taken", path, name)
        return name

    def kept(self) -> int:
        """Bytes of the host's memory that wait for the next tensor to or from a pack."""
        processes = [pack.process for pack in list(self.packs.values())]
        return buffer_pool.kept() + sum(one.kept for one in processes if one is not None)

    def warm(self) -> None:
        """Start the template, without waiting for it."""
        self._parent(TEMPLATE, False)

    def _parent(self, name: str, gpu: bool, inside: Sequence[str] = ()) -> Parent:
        """A template. One is for all packs; those that use CUDA have one of their own, since CUDA
        outlives no fork, and so have those with a view of the file system of their own."""
        with self._lock:
            parent = self._parents.get(name)
            if parent is not None and parent.inside != list(inside):  # granted anew
                parent.close()
                parent = None
            if parent is None or parent.gone:
                arguments = [] if gpu else ["--cpu"]
                home = self.home / name
                home.mkdir(parents=True, exist_ok=True)
                variables = environment(home, gpu=gpu)
                parent = self._parents[name] = Parent(
                    comfyui(), arguments, variables, self._output.writing, inside
                )
            return parent

    def _parent_of(self, pack: Pack, granted: dict[str, Any]) -> tuple[Parent, dict[str, Any]]:
        """The template for a pack, and what confines that beside what its worker does itself."""
        gpu, around, inside = pack.rule.gpu, {}, []
        if pack.rule.bubblewrap:
            outcome = bubblewrap.available()
            around = ConfinementReport({"bubblewrap": outcome}).describe()
            if outcome.state == "applied":
                inside = bubblewrap.command(Jail(**granted), comfyui())
        return self._parent(pack.name if gpu or inside else TEMPLATE, gpu, inside), around

    def _start(self, pack: Pack) -> Process:
        pack.rule = self.rule(pack.called)
        path, ignore = self.paths[pack.name]
        home = self.home / pack.name
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        directories = _directories(pack.name)
        granted = jail(path, home, directories, pack.rule)
        parent, around = self._parent_of(pack, granted)
        quota = int(pack.rule.arena * GIB)
        begin = m.Begin(
            path=path,
            parent="custom_nodes",
            ignore=sorted(ignore),
            directories=directories,
            folders=_folders(),
            jail=granted,
            environment=environment(home, pack.rule.gpu, variables(pack.called)),
            quota=quota,
        )
        return Process(pack.name, parent, begin, pack.output, answer, quota, pack.asides, around)

    def _tend(self, pack: Pack) -> None:
        """What is due every second; a thread for each, since the end of one can take long to hear.

        Until the pack is loaded again, as another.
        """
        while self.packs.get(pack.name) is pack:
            time.sleep(TICK_SECONDS)
            try:
                pack.tend()
            except Exception:
                log.exception("Z-Image: %s", pack.name)

    def stop(self) -> None:
        """End every process."""
        for pack in self.packs.values():
            pack.stop()
        for parent in self._parents.values():
            parent.close()
        self._parents.clear()


def name_of(path: str) -> str:
    """What policy and messages call a pack: its folder, or its file without ``.py``."""
    base = os.path.basename(path.rstrip("/"))
    return base[:-3] if base.endswith(".py") else base


def _directories(name: str) -> dict[str, str]:
    """ComfyUI's folders as the pack shall see them: ``temp`` is a part of the host's own."""
    import folder_paths

    temp = os.path.join(folder_paths.get_temp_directory(), name)
    os.makedirs(temp, exist_ok=True)
    return {
        "output": folder_paths.get_output_directory(),
        "input": folder_paths.get_input_directory(),
        "temp": temp,
        "user": folder_paths.get_user_directory(),
    }


def _folders() -> dict[str, tuple[list[str], list[str]]]:
    import folder_paths

    return {
        str(kind): ([str(path) for path in paths], sorted(str(one) for one in suffixes))
        for kind, (paths, suffixes) in folder_paths.folder_names_and_paths.items()
    }
