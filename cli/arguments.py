"""The grammar of ``./zimage``. Standard library only: help and usage errors need no environment."""

from __future__ import annotations

import argparse

from ..config import PACK_DIR
from . import parser_texts as texts
from . import templates
from .parser import Parser, integer, translated_argparse
from .terminal import USAGE

TEMPLATE = "电商海报生成"
Commands = argparse._SubParsersAction
"""The type that ``add_subparsers`` returns; argparse has no public name for it."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse a command line.

    Returns:
        ``command`` and the options of that command. ``rest`` has the arguments for others: pytest,
        a benchmark, or ComfyUI (after ``--``).

    Raises:
        SystemExit: 0 after ``--help``, 2 on wrong usage.
    """
    argv, rest = _split(argv)
    parser = _build()
    if not argv:
        parser.print_help()
        raise SystemExit(USAGE)
    with translated_argparse():
        options = parser.parse_args(argv)
    options.rest = rest
    return options


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Separate our arguments from those for others."""
    command = argv[0] if argv else ""
    if command == "test" and not {"-h", "--help"} & set(argv[1:2]):
        return argv[:1], argv[1:]
    if "--" in argv and command in {"serve", "bench"}:
        cut = argv.index("--")
        return argv[:cut], argv[cut + 1 :]
    return argv, []


def _build() -> Parser:
    parser = Parser(prog="./zimage", description=str(texts.DESCRIPTION), epilog=texts.EXAMPLES)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title=str(texts.COMMANDS_TITLE)
    )
    _add_demo(commands)
    _add_serve(commands)
    _add_development(commands)
    _add_workflows(commands)
    _add_operating(commands)
    return parser


def _add_command(commands: Commands[Parser], name: str, usage: str | None = None) -> Parser:
    description = texts.DESCRIPTIONS.get(name)
    return commands.add_parser(
        name,
        help=str(texts.COMMANDS[name]),
        description=str(description) if description else None,
        epilog=texts.EPILOGUES.get(name),
        usage=usage,
    )


def _add_demo(commands: Commands[Parser]) -> None:
    demo = _add_command(commands, "demo")
    names = ", ".join(templates.names(PACK_DIR))
    demo.add("--template", {"names": names}, default=TEMPLATE, metavar="NAME")
    demo.add("--prompt", metavar="TEXT")
    demo.add("--seed", type=_seed, metavar="N")
    demo.add("--out", default=".", metavar="DIR")
    demo.add("--json", action="store_true")
    demo.add("--comfyui", metavar="DIR")


def _add_serve(commands: Commands[Parser]) -> None:
    serve = _add_command(commands, "serve")
    serve.add("--host", default="127.0.0.1", metavar="H")
    serve.add("--port", type=_port, default=8188, metavar="P")
    serve.add("--guardian", choices=("on", "off"), default="on")
    serve.add("--standby", choices=("auto", "on", "off"), default="auto")
    serve.add("--comfyui", metavar="DIR")


def _add_development(commands: Commands[Parser]) -> None:
    usage = "./zimage test [--coverage | --host-suite [SUITE ...]] [PYTEST ARGS]"
    _add_command(commands, "test", usage)
    check = _add_command(commands, "check")
    check.add("names", nargs="*", metavar="NAME")
    _add_command(commands, "lock")
    parts = commands.add_parser("parts")  # without a help text, so the list of commands omits it
    parts.add_argument("--write", action="store_true")
    bench = _add_command(commands, "bench")
    bench.add("name", nargs="?", metavar="NAME")
    bench.add("--json", action="store_true")


def _add_workflows(commands: Commands[Parser]) -> None:
    validate = _add_command(commands, "validate")
    validate.add("files", nargs="*", metavar="FILE")
    validate.add("--json", action="store_true")
    validate.add("--core-only", action="store_true")
    validate.add("--object-info", metavar="FILE|URL")
    to_api = _add_command(commands, "to-api")
    to_api.add("file", metavar="FILE")
    to_api.add("--object-info", metavar="FILE|URL")


def _add_operating(commands: Commands[Parser]) -> None:
    drill = _add_command(commands, "drill")
    drill.add("--rounds", type=_rounds, metavar="N")
    drill.add("--seed", type=_seed, metavar="N")
    drill.add("--only", nargs="+", metavar="FAULT")
    drill.add("--list", action="store_true")
    drill.add("--json", action="store_true")
    drill.add("--comfyui", metavar="DIR")
    doctor = _add_command(commands, "doctor")
    doctor.add("--json", action="store_true")
    doctor.add("--server", default="http://127.0.0.1:8188", metavar="URL")
    doctor.add("--comfyui", metavar="DIR")


def _rounds(text: str) -> int:
    return integer(text, 1, 10**6)


def _port(text: str) -> int:
    return integer(text, 1, 65535)


def _seed(text: str) -> int:
    return integer(text, 0, 2**64 - 1)
