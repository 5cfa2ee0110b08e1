"""Runs in the user's Python: parses the command line, prepares the environment, executes it."""

from __future__ import annotations

import argparse
import os

from ..config import PACK_DIR, Settings
from ..errors.bilingual import Bilingual
from . import bootstrap, templates
from .arguments import parse
from .host import discover
from .terminal import Stop, complain, say


def launch(argv: list[str]) -> int:
    """Replace this process by the command in the private environment.

    Returns:
        The exit code, if the command ends before that.
    """
    options = parse(argv)
    settings = Settings.from_environment()
    try:
        if options.command == "demo":
            templates.find(PACK_DIR, options.template)  # before a download
        python = _python(options, settings)
    except Stop as stop:
        if options.command == "doctor":  # reports what is missing, so it needs no environment
            from . import doctor

            return doctor.run(options, settings, stop)
        complain(stop, getattr(options, "json", False))
        return stop.status
    except KeyboardInterrupt:
        say(Bilingual("已中断；再次运行会继续", "interrupted; run it again to resume"))
        return 130
    main = str(PACK_DIR / "cli" / "main.py")
    os.execv(python, [python, "-I", main, *argv])  # noqa: S606


def _python(options: argparse.Namespace, settings: Settings) -> str:
    """Return the Python for the command; create the private environment unless the host has one."""
    if "comfyui" in options:  # the commands that need nothing but a host
        host = discover(settings, PACK_DIR, options.comfyui)
        if host.python != bootstrap.paths(settings, PACK_DIR).python:
            return str(host.python)
    return str(bootstrap.ensure(settings, PACK_DIR).python)
