"""The launcher in the user's Python: parse, prepare the environment, start the command in it."""

from __future__ import annotations

import argparse
import os

from ..config import PACK_DIR, Settings
from ..errors.bilingual import Bilingual
from . import bootstrap, templates
from .arguments import parse
from .host import discover
from .terminal import FAILED, Stop, complain, say

INTERRUPTED = 130
"""The exit code of a shell for a command that SIGINT ended: 128 + 2."""


def launch(argv: list[str]) -> int:
    """Parse a command line, and replace this process by the command.

    The command runs with the Python of the host or of the private environment, which is created
    first if it does not exist.

    Args:
        argv: the arguments after the name of the program.

    Returns:
        The exit code, only if the command was not started.

    Raises:
        SystemExit: 0 after ``--help``, 2 on wrong usage.
    """
    options = parse(argv)
    settings = Settings.from_environment()
    try:
        return _start(options, settings, argv)
    except KeyboardInterrupt:
        say(Bilingual("已中断；再次运行会继续", "interrupted; run it again to resume"))
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED


def _start(options: argparse.Namespace, settings: Settings, argv: list[str]) -> int:
    """Replace this process by the command, or report why not and return the exit code."""
    try:
        if options.command == "demo":
            # An unknown template is an error before the environment is downloaded.
            templates.find(PACK_DIR, options.template)
        python = _python(options, settings)
    except Stop as stop:
        failure = stop
    else:
        main_file = str(PACK_DIR / "cli" / "main.py")
        os.execv(python, [python, "-I", main_file, *argv])  # noqa: S606
    return _report(options, settings, failure)


def _report(options: argparse.Namespace, settings: Settings, failure: Stop) -> int:
    """Report why the command was not started, and return the exit code."""
    if options.command == "doctor":
        # It reports why there is no environment, so it runs in this process.
        from . import doctor

        return doctor.run(options, settings, failure)
    complain(failure, getattr(options, "json", False))
    return failure.status


def _python(options: argparse.Namespace, settings: Settings) -> str:
    """Return the path of the Python that runs the command.

    A command with ``--comfyui`` runs with the host's own Python. Every other command, and a host
    without a Python of its own, uses the private environment, which is created if necessary.

    Raises:
        Stop: there is no host, or the environment cannot be created.
    """
    if "comfyui" in options:
        host = discover(settings, PACK_DIR, options.comfyui)
        if host.python != bootstrap.paths(settings, PACK_DIR).python:
            return str(host.python)
    return str(bootstrap.ensure(settings, PACK_DIR).python)
