"""Runs a command. Each command is a module with ``run(options, settings) -> int``."""

from __future__ import annotations

import importlib

from ..config import Settings
from ..errors.bilingual import Bilingual
from .arguments import parse
from .terminal import FAILED, Stop, complain, say

MODULES = {
    "demo": "demo",
    "serve": "serve",
    "test": "tests",
    "check": "check",
    "lock": "lock",
    "parts": "parts_table",
    "bench": "bench",
    "validate": "validate",
    "to-api": "validate",
    "drill": "drill",
    "doctor": "doctor",
}


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    options = parse(argv)
    module = importlib.import_module(f".{MODULES[options.command]}", __package__)
    action = module.to_api if options.command == "to-api" else module.run
    try:
        return action(options, Settings.from_environment())
    except Stop as stop:
        complain(stop, getattr(options, "json", False))
        return stop.status
    except KeyboardInterrupt:
        say(Bilingual("已中断", "interrupted"))
        return 130
    except BrokenPipeError:
        return FAILED
