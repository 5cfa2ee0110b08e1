"""Runs in the person's own Python: reads the command line, makes the environment, hands over."""

from __future__ import annotations

import os

from ..config import PACK_DIR, Settings
from . import bootstrap, templates
from .arguments import parse
from .terminal import Stop, complain, say


def launch(argv: list[str]) -> int:
    """Replaces this process by the command running in the private environment.

    Returns:
        The exit code, when it ends before the hand-over.
    """
    options = parse(argv)
    settings = Settings.from_environment()
    try:
        if options.command == "demo":
            templates.find(PACK_DIR, options.template)  # a typing error must not cost a download
        prepared = bootstrap.ensure(settings, PACK_DIR)
    except Stop as stop:
        complain(stop)
        return stop.status
    except KeyboardInterrupt:
        say("已中断；再次运行会从断点继续", "interrupted; run it again to go on from here")
        return 130
    python = str(prepared.python)
    main = str(PACK_DIR / "cli" / "main.py")
    os.execv(python, [python, "-I", main, *argv])  # noqa: S606
