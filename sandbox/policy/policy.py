"""Which packs run where and what they may do: ``sandbox.toml`` in the user folder."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta, structs

from ...config import SANDBOX_MODES as MODES
from ...errors import ZImageError
from ...errors.bilingual import Bilingual

if TYPE_CHECKING:  # the type checker has no msgspec

    @dataclass_transform(frozen_default=True)
    class Struct:
        """The base class of msgspec, as far as this file uses it."""

        def __init_subclass__(
            cls, frozen: bool = False, forbid_unknown_fields: bool = False
        ) -> None: ...

else:
    Struct = msgspec.Struct

PLACES = ("sandbox", "trusted", "blocked")
GIB = 2**30
LIMIT = 10**9
"""Every number in the file must be less than this."""
LONGEST_VALUE = 200
"""Characters of a wrong value that an error quotes."""


def _meta(english: str, chinese: str, **limits: Any) -> Meta:
    """Return metadata of a type: words for an error in both languages, and limits of its values."""
    return Meta(description=english, extra={"zh": chinese}, **limits)


Mode = Annotated[Literal["auto", "strict", "off"], _meta(", ".join(MODES), "、".join(MODES))]
Place = Annotated[
    Literal["sandbox", "trusted", "blocked"], _meta(", ".join(PLACES), "、".join(PLACES))
]
Switch = Annotated[bool, _meta("true or false", "true 或 false")]
Paths = Annotated[tuple[str, ...], _meta("a list of paths", "路径列表")]
_NUMBER = _meta("a number of 0 or more", "不小于 0 的数", ge=0, lt=LIMIT)
Number = Annotated[float, _NUMBER]
Count = Annotated[int, _NUMBER]
Table = Annotated[dict[str, Any], _meta("a table", "表")]


class PackRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Where one pack runs, and what it may do there; a table of ``sandbox.toml``.

    Attributes:
        run: ``sandbox``, ``trusted`` (in ComfyUI's process) or ``blocked``; None: the mode decides.
        network: may connect to any address.
        gpu: may use CUDA. Its worker is not forked from the common template and starts in seconds.
        processes: may start programs.
        bubblewrap: also hides the files that it may not read. Its worker has a template of its own.
        read: further files and folders that it may read.
        write: further folders that it may write; ``.`` is the pack's own folder.
        memory: most GiB of memory that it does not share; 0: no limit.
        arena: most GiB of shared memory for tensors, in each direction.
        tasks: most threads and processes; 0: no limit.
        load_seconds: most seconds for its import.
        call_seconds: most seconds for a call; 0: no limit.
        silent_seconds: most seconds without a heartbeat while it works.
        idle_minutes: its process ends after this time without a call; 0: never.
        eager: start it with ComfyUI, not with its first node.
    """

    run: Place | None = None
    network: Switch = False
    gpu: Switch = False
    processes: Switch = False
    bubblewrap: Switch = False
    read: Paths = ()
    write: Paths = ()
    memory: Number = 8.0
    arena: Number = 4.0
    tasks: Count = 256
    load_seconds: Number = 180.0
    call_seconds: Number = 3600.0
    silent_seconds: Number = 60.0
    idle_minutes: Number = 10.0
    eager: Switch = False


class PolicyTables(Struct, frozen=True, forbid_unknown_fields=True):
    """The top level of ``sandbox.toml``."""

    mode: Mode = "auto"
    default: Table = msgspec.field(default_factory=dict)
    packs: Table = msgspec.field(default_factory=dict)


_Tables = TypeVar("_Tables", PackRule, PolicyTables)


class PolicyValueError(ValueError):
    """A key of ``sandbox.toml`` that is unknown or has a wrong value.

    Args:
        key: with the tables that contain it.
        expected: what is accepted.
        value: what the file has; none if the key itself is unknown. It can be any value of TOML.

    Attributes:
        text: the message in both languages.
    """

    def __init__(self, key: str, expected: Bilingual, *value: object) -> None:
        found = key
        if value:
            found += f" = {value[0]!r}"[:LONGEST_VALUE]
        text = Bilingual("{found}，应为：{expected}", "{found}; expected {expected}")
        self.text = text.format(found=found, expected=expected)
        super().__init__(self.text.english)


@dataclass(frozen=True)
class Policy:
    """What holds for all packs.

    Attributes:
        mode: ``auto``: packs whose nodes can run in a sandbox do, the others load in ComfyUI and
            the log names them; ``strict``: what cannot run in a sandbox is not loaded; ``off``: all
            packs load in ComfyUI.
        default: for packs without a rule of their own.
        packs: rules by the name of folder or file, in lower case.
        error: why the file could not be used; then the mode is ``strict``.
        explicit_keys: keys that the file sets for each pack; those of ``default`` under ``""``.
    """

    mode: str = "auto"
    default: PackRule = field(default_factory=PackRule)
    packs: dict[str, PackRule] = field(default_factory=dict)
    error: ZImageError | None = None
    explicit_keys: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def requires_sandbox(self) -> bool:
        """Whether at least one pack must never load in ComfyUI's process."""
        runs = {rule.run for rule in (self.default, *self.packs.values())}
        return self.mode == "strict" or bool(runs & {"sandbox", "blocked"})

    def rule(self, name: str) -> PackRule:
        """Return the rule of a pack.

        A key in ``sandbox.toml`` takes precedence over ``known.toml``. In mode ``strict``, the
        permissions in ``known.toml`` are not used.
        """
        key = name.lower()
        rule = self.packs.get(key, self.default)
        if self.mode == "strict":
            return rule
        explicit = self.explicit_keys.get("", frozenset()) | self.explicit_keys.get(key, set())
        additions = {k: v for k, v in known().get(key, {}).items() if k not in explicit}
        additions.pop("variables", None)
        return structs.replace(rule, **additions)


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """Return ``known.toml``: what well-known packs need, by name in lower case."""
    return tomllib.loads((Path(__file__).parent / "known.toml").read_text("utf-8"))


def variables(name: str) -> dict[str, str]:
    """Return what ``known.toml`` adds to a pack's environment; ``~`` is the pack's home folder.

    This holds in every mode, since it grants nothing.
    """
    return dict(known().get(name.lower(), {}).get("variables", {}))


def read(path: Path, mode: str | None = None) -> Policy:
    """Return the policy in a file, or the default policy if there is no file.

    Args:
        path: of ``sandbox.toml``.
        mode: replaces the mode in the file if it is one of :data:`MODES`. An unusable file always
            gives ``strict``.
    """
    try:
        policy = parse(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        policy = Policy()
    except (OSError, ValueError) as error:  # ValueError: not TOML, not UTF-8, wrong value
        reason = error.text if isinstance(error, PolicyValueError) else error
        unusable = ZImageError("ZI-SANDBOX-POLICY", path=path, found=reason)
        return Policy(mode="strict", error=unusable)
    return replace(policy, mode=mode) if mode in MODES else policy


def parse(document: Mapping[str, Any]) -> Policy:
    """Return the policy of a document.

    Raises:
        PolicyValueError: a key is unknown or has a wrong value.
    """
    tables = _convert("", document, PolicyTables)
    default = _rule("default", tables.default, {})
    rules: dict[str, PackRule] = {}
    explicit = {"": frozenset(tables.default)}
    for name, table in tables.packs.items():
        rules[name.lower()] = _rule(f"packs.{name}", table, tables.default)
        explicit[name.lower()] = frozenset(table)
    return Policy(tables.mode, default, rules, explicit_keys=explicit)


def _rule(name: str, table: Any, default: Mapping[str, Any]) -> PackRule:
    if not isinstance(table, dict):
        raise PolicyValueError(name, _expected(Table), table)
    merged = {**default, **table}
    tasks = merged.get("tasks")
    if isinstance(tasks, float) and 0 <= tasks < LIMIT:
        merged["tasks"] = int(tasks)  # a fraction of a task is dropped
    return _convert(f"{name}.", merged, PackRule)


def _convert(prefix: str, table: Mapping[str, Any], kind: type[_Tables]) -> _Tables:
    try:
        return msgspec.convert(dict(table), kind)
    except msgspec.ValidationError:
        raise _mistake(prefix, table, kind) from None


def _mistake(prefix: str, table: Mapping[str, Any], kind: type[Struct]) -> PolicyValueError:
    """Return an error for the first key that the type does not accept."""
    types = {info.name: info.type for info in structs.fields(kind)}
    for key, value in table.items():
        if key not in types:
            names = ", ".join(types)
            expected = Bilingual(f"以下之一：{names}", f"one of {names}")
            return PolicyValueError(f"{prefix}{key}", expected)
        try:
            msgspec.convert(value, types[key])
        except msgspec.ValidationError:
            return PolicyValueError(f"{prefix}{key}", _expected(types[key]), value)
    raise AssertionError(f"msgspec refused {prefix}, yet accepts each of its keys")


def _expected(annotated: Any) -> Bilingual:
    """Return the words for errors that :func:`_meta` added to a type."""
    while not hasattr(annotated, "__metadata__"):
        annotated = annotated.__args__[0]  # the type in ``Place | None``
    meta: Meta = annotated.__metadata__[0]
    return Bilingual((meta.extra or {})["zh"], str(meta.description))
