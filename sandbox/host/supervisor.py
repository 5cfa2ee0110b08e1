"""All sandboxes of this server, and the templates that fork their workers."""

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
from ..policy.grants import comfyui, environment, jail
from ..policy.policy import GIB, Policy, variables
from ..protocol import buffer_pool
from ..protocol import messages as m
from .description_cache import Descriptions
from .dispatch import answer
from .launch import start_worker
from .log_capture import Output, OutputReader
from .pack import Pack
from .session import WorkerSession
from .template_client import TemplateClient

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
TEMPLATE = "template"
"""Name of the common template and of its folder; no pack has it."""


class Supervisor:
    """The sandboxes of one server.

    Args:
        policy: which packs run where.
        home: folder for the state of sandboxes, in ComfyUI's user folder.

    Attributes:
        rule: returns the current rule of a pack; policy files can be reloaded.
        descriptions: of packs, stored between starts.
        packs: by name.
        paths: path and ignored node names of each pack, by name.
    """

    def __init__(self, policy: Policy, home: Path) -> None:
        self.policy = policy
        self.home = home
        self.rule = policy.rule
        self.descriptions = Descriptions(home.parent / "descriptions")
        self.packs: dict[str, Pack] = {}
        self.paths: dict[str, tuple[str, frozenset[str]]] = {}
        self._templates: dict[str, TemplateClient] = {}
        self._lock = threading.Lock()
        self._reader = OutputReader()
        self._output = Output("sandboxes")
        self._reader.add(self._output)

    def add(self, path: str, ignore: frozenset[str]) -> Pack:
        """Add the pack of a folder or file.

        Args:
            path: of the pack.
            ignore: names of nodes that ComfyUI itself has.
        """
        called = name_of(path)
        name = self._unique_name(path)
        output = Output(name)
        self._reader.add(output)
        pack = Pack(name, self.policy.rule(called), self._start, output, called=called)
        self.packs[name] = pack
        self.paths[name] = (path, ignore)
        threading.Thread(
            target=self._tend, args=(pack,), name="zimage-sandbox", daemon=True
        ).start()
        return pack

    def _unique_name(self, path: str) -> str:
        """Return a name for the pack's own folders, routes and description.

        ComfyUI loads its folders of packs in a fixed order, so a pack has the same name after a
        restart.
        """
        called = name_of(path)
        if called != TEMPLATE and self.paths.get(called, (path,))[0] == path:
            return called
        name = f"{called}-{hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:8]}"
        log.info("Z-Image: %s is called %s, since that name is taken", path, name)
        return name

    def idle_bytes(self) -> int:
        """Return the bytes of the host's memory that are free for the next tensors of packs."""
        sessions = [pack.session for pack in list(self.packs.values())]
        in_arenas = sum(session.idle_bytes for session in sessions if session is not None)
        return buffer_pool.idle_bytes() + in_arenas

    def warm(self) -> None:
        """Start the common template, without waiting for it."""
        self._template(TEMPLATE, False)

    def _template(self, name: str, gpu: bool, command_prefix: Sequence[str] = ()) -> TemplateClient:
        """Return a running template.

        All packs have a common one, except packs that use CUDA, which does not work after a fork,
        and packs with their own view of the file system.

        Args:
            name: of the template.
            gpu: whether its workers use CUDA.
            command_prefix: command that confines the template.
        """
        with self._lock:
            template = self._templates.get(name)
            if template is not None and template.command_prefix != list(command_prefix):
                template.close()  # its permissions have changed
                template = None
            if template is None or template.ended:
                arguments = [] if gpu else ["--cpu"]
                home = self.home / name
                home.mkdir(parents=True, exist_ok=True)
                template = TemplateClient(
                    comfyui(),
                    arguments,
                    environment(home, gpu=gpu),
                    self._output.writing,
                    command_prefix,
                )
                self._templates[name] = template
            return template

    def _template_for(
        self, pack: Pack, granted: dict[str, Any]
    ) -> tuple[TemplateClient, dict[str, Any]]:
        """Return the template for a pack, and the report of what confines it from outside."""
        outer_report: dict[str, Any] = {}
        command_prefix: list[str] = []
        if pack.rule.bubblewrap:
            outcome = bubblewrap.available()
            outer_report = ConfinementReport({"bubblewrap": outcome}).describe()
            if outcome.state == "applied":
                command_prefix = bubblewrap.command(Jail(**granted), comfyui())
        own = pack.rule.gpu or bool(command_prefix)
        name = pack.name if own else TEMPLATE
        return self._template(name, pack.rule.gpu, command_prefix), outer_report

    def _start(self, pack: Pack) -> WorkerSession:
        pack.rule = self.rule(pack.called)
        path, ignore = self.paths[pack.name]
        home = self.home / pack.name
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        directories = _directories(pack.name)
        granted = jail(path, home, directories, pack.rule)
        template, outer_report = self._template_for(pack, granted)
        begin = m.Begin(
            path=path,
            parent="custom_nodes",
            ignore=sorted(ignore),
            directories=directories,
            folders=_folders(),
            jail=granted,
            environment=environment(home, pack.rule.gpu, variables(pack.called)),
            quota=int(pack.rule.arena * GIB),
        )
        return start_worker(
            pack.name, template, begin, pack.output, answer, pack.unsolicited, outer_report
        )

    def _tend(self, pack: Pack) -> None:
        """Tend a pack every second, until it is replaced by another of the same name.

        Each pack has its own thread: waiting for the end of a worker can take long.
        """
        while self.packs.get(pack.name) is pack:
            time.sleep(TICK_SECONDS)
            try:
                pack.tend()
            except Exception:
                log.exception("Z-Image: %s", pack.name)

    def stop(self) -> None:
        """End every worker and every template."""
        for pack in self.packs.values():
            pack.stop()
        for template in self._templates.values():
            template.close()
        self._templates.clear()


def name_of(path: str) -> str:
    """Return the name of a pack in rules and messages: its folder, or its file without ``.py``."""
    base = os.path.basename(path.rstrip("/"))
    return base[:-3] if base.endswith(".py") else base


def _directories(name: str) -> dict[str, str]:
    """Return ComfyUI's folders for a pack; ``temp`` is a folder in the host's own."""
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
    """Return the folders and suffixes of each kind of model."""
    import folder_paths

    return {
        str(kind): ([str(path) for path in paths], sorted(str(suffix) for suffix in suffixes))
        for kind, (paths, suffixes) in folder_paths.folder_names_and_paths.items()
    }
