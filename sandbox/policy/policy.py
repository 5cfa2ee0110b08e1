"""Which packs run where and what they may do: ``sandbox.toml`` in the user folder."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...config import SANDBOX_MODES as MODES
from ...errors import ZImageError

PLACES = ("sandbox", "trusted", "blocked")
GIB = 2**30


@dataclass(frozen=True)
class Rule:
    """One pack.

    Attributes:
        run: ``sandbox``, ``trusted`` (in ComfyUI's process) or ``blocked``; None: as the mode says.
        network: may connect to anywhere.
        gpu: may use CUDA. Such a worker starts by itself, in seconds.
        processes: may start programs.
        bubblewrap: what it may not read is not there either. Such a worker starts by itself, too.
        read: further files and folders that it may read.
        write: further folders that it may write; ``.`` is its own.
        memory: GiB of its own; 0: no limit.
        arena: GiB of tensors on their way, each direction.
        tasks: threads and processes.
        load_seconds: longest import.
        call_seconds: longest call; 0: no limit.
        silent_seconds: without any sign of life while it works.
        idle_minutes: without a call, after which its process ends; 0: never.
        eager: started with ComfyUI, not with its first node.
    """

    run: str | None = None
    network: bool = False
    gpu: bool = False
    processes: bool = False
    bubblewrap: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    memory: float = 8.0
    arena: float = 4.0
    tasks: int = 256
    load_seconds: float = 180.0
    call_seconds: float = 3600.0
    silent_seconds: float = 60.0
    idle_minutes: float = 10.0
    eager: bool = False


@dataclass(frozen=True)
class Policy:
    """What holds for all packs.

    Attributes:
        mode: ``auto``: packs whose nodes can live outside do, the others load in ComfyUI and are
            named in its log; ``strict``: what cannot live outside is not loaded; ``off``: all load
            in ComfyUI.
        default: for packs without a rule of their own.
        packs: by the name of folder or file, in small letters.
        trouble: why the file could not be used; then the mode is ``strict``.
        said: keys that the file has for a pack; with an empty name, for all.
    """

    mode: str = "auto"
    default: Rule = field(default_factory=Rule)
    packs: dict[str, Rule] = field(default_factory=dict)
    trouble: ZImageError | None = None
    said: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether there are packs that must not run in ComfyUI's process, come what may."""
        runs = {one.run for one in (self.default, *self.packs.values())}
        return self.mode == "strict" or bool(runs & {"sandbox", "blocked"})

    def rule(self, name: str) -> Rule:
        """What holds for a pack: what the file says goes before ``known.toml``, and where the mode
        is ``strict`` nothing is granted that the file does not say."""
        key = name.lower()
        found = self.packs.get(key, self.default)
        if self.mode == "strict":
            return found
        said = {"variables"} | self.said.get("", set()) | self.said.get(key, set())
        return replace(found, **{k: v for k, v in known().get(key, {}).items() if k not in said})


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """``known.toml``: what comes with us for packs that need it, by name in small letters."""
    return tomllib.loads((Path(__file__).parent / "known.toml").read_text("utf-8"))


def variables(name: str) -> dict[str, str]:
    """What ``known.toml`` adds to a pack's environment, in every mode, since it allows nothing;
    ``~`` is the folder that is its own."""
    return dict(known().get(name.lower(), {}).get("variables", {}))


def read(path: Path, mode: str | None = None) -> Policy:
    """The policy in a file, the default one without a file.

    Args:
        path: of ``sandbox.toml``.
        mode: takes the place of the mode in the file.
    """
    try:
        policy = parse(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        policy = Policy()
    except (OSError, ValueError) as error:  # also what is no TOML or no UTF-8
        found = ZImageError("ZI-SANDBOX-POLICY", path=path, found=error)
        return Policy(mode="strict", trouble=found)
    return replace(policy, mode=mode) if mode in MODES else policy


def parse(document: dict[str, Any]) -> Policy:
    """The policy of a document.

    Raises:
        ValueError: something in it is unknown or of another type.
    """
    document = dict(document)
    mode = document.pop("mode", "auto")
    if mode not in MODES:
        raise ValueError(f"mode = {mode!r}; expected {', '.join(MODES)}")
    table = document.pop("default", {})
    default = _rule("default", table, Rule())
    packs = document.pop("packs", {})
    if document or not isinstance(packs, dict):
        raise ValueError(f"{', '.join(document) or 'packs'}; expected mode, default, packs")
    rules = {str(k).lower(): _rule(str(k), v, default) for k, v in packs.items()}
    said = {"": frozenset(table), **{str(k).lower(): frozenset(v) for k, v in packs.items()}}
    return Policy(mode, default, rules, said=said)


def _rule(name: str, found: Any, default: Rule) -> Rule:
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected a table")
    values = {}
    for key, value in found.items():
        was = getattr(default, key, _rule)
        if was is _rule or key.startswith("_"):
            raise ValueError(f"{name}.{key}; expected one of {', '.join(vars(default))}")
        values[key] = _value(f"{name}.{key}", key, value, getattr(Rule(), key))
    return replace(default, **values)


def _value(name: str, key: str, value: Any, like: Any) -> Any:
    if key == "run":
        if value not in PLACES:
            raise ValueError(f"{name} = {value!r}; expected {', '.join(PLACES)}")
        return value
    if isinstance(like, tuple):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{name} = {value!r}; expected a list of paths")
        return tuple(value)
    if isinstance(like, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} = {value!r}; expected true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{name} = {value!r}; expected a number of 0 or more")
    return type(like)(value)
