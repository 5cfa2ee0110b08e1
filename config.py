"""Settings: the one place that reads environment variables and fixed paths."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from .errors import ZImageError

PACK_DIR = Path(os.path.abspath(__file__)).parent
"""This folder. Not resolved: it may be a link inside somebody's ``custom_nodes``."""
IDLE_MINUTES = 10.0
INTERRUPT_SECONDS = 30.0
MEGAPIXELS, MOST_MEGAPIXELS = 100.0, 178.0
"""Default and largest limit of a picture that is opened; beyond the latter Pillow refuses."""
SAMPLING = r"(?:turbo|base|edit)\.(?:cuda|cpu)"
DEADLINES = rf"{SAMPLING}|grace"
"""What ``$ZIMAGE_DEADLINES`` may name; all but ``grace`` may be ``auto``."""
SANDBOX_MODES = ("auto", "strict", "off")
GUARD = "ZIMAGE_GUARD"


class InvalidValue(NamedTuple):
    """A variable whose value cannot be used, so that its default counts.

    Attributes:
        name: of the variable.
        found: its value, or the part that cannot be used; ``…`` where it may be secret.
        expected: what it may be.
    """

    name: str
    found: str
    expected: str

    @property
    def error(self) -> ZImageError:
        """``ZI-SETTING``, for the log or the terminal."""
        return ZImageError("ZI-SETTING", **self._asdict())


class Reader:
    """Reads variables and collects those whose values cannot be used.

    Args:
        env: the environment.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.unfit: list[InvalidValue] = []

    def number(
        self, name: str, default: float, least: float, most: float, expected: str = ""
    ) -> float:
        """Return a finite number from ``least`` to ``most``, or the default."""
        text = self.env.get(name) or str(default)
        value = _float(text)
        if least <= value <= most and value < math.inf:
            return value
        self.unfit.append(InvalidValue(name, text, expected or f"{least:g} … {most:g}"))
        return default

    def numbers(
        self, name: str, names: str, expected: str, automatic: str = ""
    ) -> dict[str, float]:
        """Return the pairs of ``name=number`` with commas between; others are left out.

        Args:
            name: of the variable.
            names: regular expression of what it may name.
            expected: an example.
            automatic: regular expression of what may be set to ``auto``.
        """
        numbers: dict[str, float] = {}
        for word in self.env.get(name, "").split(","):
            match = re.fullmatch(rf"({names})\s*=\s*(\d+(?:\.\d+)?)", word.strip())
            if match:
                numbers[match[1]] = float(match[2])
            elif word.strip() and not (automatic and _is_automatic(word, automatic)):
                self.unfit.append(InvalidValue(name, word.strip(), expected))
        return numbers

    def automatic(self, name: str, names: str) -> frozenset[str]:
        """Return the names that are set to ``auto`` among pairs with commas between."""
        words = self.env.get(name, "").split(",")
        return frozenset(
            word.partition("=")[0].strip() for word in words if _is_automatic(word, names)
        )

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return one of the choices, None when the variable is unset or has another value."""
        text = self.env.get(name, "")
        if text in choices:
            return text
        if text:
            self.unfit.append(InvalidValue(name, text, ", ".join(choices)))
        return None

    def addresses(self, name: str, expected: str, mail: bool = False) -> tuple[str, ...]:
        """Return addresses for alerts, with spaces between; others are left out."""
        words = tuple(self.env.get(name, "").split())
        usable = tuple(url for url in words if _is_address(url, mail))
        if usable != words:  # what it holds may be secret
            self.unfit.append(InvalidValue(name, "…", expected))
        return usable


@dataclass(frozen=True)
class Disk:
    """What the disk guard goes by. A value that cannot be used leaves the default in place.

    Attributes:
        keep_days: files in ComfyUI's output and temp folders older than this are deleted, with 0
            none are (``$ZIMAGE_KEEP_DAYS``, 0 to 36500). None by default: in somebody's own
            ComfyUI they are somebody's pictures.
        percent: of a disk's space or inodes in use, above which new prompts are refused
            (``$ZIMAGE_DISK_PERCENT``, 10 to 100).
        alert_urls: whom to tell (``$ZIMAGE_ALERT_URL``, spaces between): http and https addresses
            get JSON, all others are Apprise's.
        alert_mail: ``smtp[s]://user:password@host:port/?from=…&to=…`` (``$ZIMAGE_ALERT_MAIL``).
        unfit: variables of these whose values cannot be used.
    """

    keep_days: float = 0.0
    percent: float = 90.0
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    alert_mail: str = field(default="", repr=False)
    unfit: tuple[InvalidValue, ...] = ()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Disk:
        """Read the settings; never fails."""
        reader = Reader(env)
        mails = reader.addresses("ZIMAGE_ALERT_MAIL", "smtp[s]://host/?to=…", mail=True)
        return cls(
            keep_days=reader.number("ZIMAGE_KEEP_DAYS", 0.0, 0, 36500),
            percent=reader.number("ZIMAGE_DISK_PERCENT", 90.0, 10, 100),
            alert_urls=reader.addresses("ZIMAGE_ALERT_URL", "https://…"),
            alert_mail=mails[0] if mails else "",
            unfit=tuple(reader.unfit),
        )


SERVER, NEW = "ZIMAGE_SERVER", "new"
"""A guardian starts each of its servers with this variable, and this value."""
UNGUARDED = "ZIMAGE_UNGUARDED"
"""Set by ``serve`` for a server that should have had a guardian."""


def claim() -> None:
    """Make the guardian's mark this process's own: it keeps it when it executes itself anew, and
    what it starts does not have it."""
    os.environ[SERVER] = str(os.getpid())


@dataclass(frozen=True)
class Settings:
    """Everything the product takes from its surroundings.

    Attributes:
        home: private environment, embedded host and caches (``$ZIMAGE_HOME``).
        log_dir: where logs go (``$ZIMAGE_LOG_DIR``), or None.
        comfyui: the ComfyUI named by ``$COMFYUI_PATH``, or None.
        active_env: the virtual or conda environment the user has activated, or None.
        off: hardening parts that are switched off (``$ZIMAGE_OFF``, names with commas between).
        guardian: control socket of the guardian that started this server
            (``$ZIMAGE_GUARDIAN``), or None.
        guarded: whether that guardian has started this very process (``$ZIMAGE_SERVER``), and not
            a server of its that has handed down its environment; see :func:`claim`.
        unguarded: whether ``serve`` has started this server without the guardian that it should
            have had (``$ZIMAGE_UNGUARDED``).
        listen_fds: listening sockets that systemd has handed to this process (``$LISTEN_FDS``).
        notify_socket: where systemd wants to be told how a service is (``$NOTIFY_SOCKET``).
        disk: see :class:`Disk`.
        idle_minutes: without a prompt, after which models are unloaded, 0 for never
            (``$ZIMAGE_IDLE_MINUTES``).
        interrupt_seconds: for a prompt to end after it was interrupted, before it is ended with its
            process, 0 for ever (``$ZIMAGE_INTERRUPT``).
        interrupt_is_set: whether ``$ZIMAGE_INTERRUPT`` has a value.
        hosts: names of this server in small letters, besides the ones that cannot be anybody's
            (``$ZIMAGE_HOSTS``, commas between).
        megapixels: width x height / 10^6 of the largest picture that is opened
            (``$ZIMAGE_MAX_MEGAPIXELS``, 1 to 178).
        deadlines: seconds for which a sampler may work on one megapixel, by variant and device, as
            ``{"turbo.cuda": 8.0}``, and ``grace`` (``$ZIMAGE_DEADLINES``,
            ``turbo.cuda=8,edit.cpu=900,grace=20``).
        auto_deadlines: each variant and device whose own steps set the time, as ``turbo.cuda``
            (``$ZIMAGE_DEADLINES``, ``turbo.cuda=auto``).
        limits: of requests, where they differ from the defaults, by the names in
            :data:`.patches.fuse.LIMITS` (``$ZIMAGE_LIMITS``, ``waiting=5000,steps=100``).
        guard: limits of the guardian that differ from its own, by their names in
            :class:`.guardian.limits.Limits` (``$ZIMAGE_GUARD``, ``silence=30,grace=120``).
        sandbox: takes the place of ``mode`` in ``sandbox.toml`` (``$ZIMAGE_SANDBOX``: ``auto``,
            ``strict``, ``off``), or None.
        color: False when ``$NO_COLOR`` is set (https://no-color.org) or ``$TERM`` is ``dumb``; else
            what is written to a terminal has colours.
        ci: True when ``$CI`` says so; then missing test tools are failures, not skips.
        unfit: variables whose values cannot be used, those of :class:`Disk` among them.
    """

    home: Path
    log_dir: Path | None = None
    comfyui: Path | None = None
    active_env: Path | None = None
    off: frozenset[str] = frozenset()
    guardian: Path | None = None
    guarded: bool = False
    unguarded: bool = False
    listen_fds: int = 0
    notify_socket: str = ""
    disk: Disk = field(default_factory=Disk)
    idle_minutes: float = IDLE_MINUTES
    interrupt_seconds: float = INTERRUPT_SECONDS
    interrupt_is_set: bool = False
    hosts: frozenset[str] = frozenset()
    megapixels: float = MEGAPIXELS
    deadlines: Mapping[str, float] = field(default_factory=dict)
    auto_deadlines: frozenset[str] = frozenset()
    limits: Mapping[str, float] = field(default_factory=dict)
    guard: Mapping[str, float] = field(default_factory=dict)
    sandbox: str | None = None
    color: bool = True
    ci: bool = False
    unfit: tuple[InvalidValue, ...] = ()

    @property
    def data(self) -> Path:
        """What people make and add with the embedded host: pictures, workflows, models."""
        return self.home / "data"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``env`` (default: this process's environment)."""
        env = os.environ if env is None else env
        reader, disk = Reader(env), Disk.from_environment(env)
        active = env.get("VIRTUAL_ENV") or env.get("CONDA_PREFIX")
        return cls(
            home=_path(env.get("ZIMAGE_HOME") or "~/.cache/zimage-comfyui"),
            log_dir=_path(env["ZIMAGE_LOG_DIR"]) if env.get("ZIMAGE_LOG_DIR") else None,
            comfyui=_path(env["COMFYUI_PATH"]) if env.get("COMFYUI_PATH") else None,
            active_env=_path(active) if active else None,
            off=_names(env.get("ZIMAGE_OFF", "")),
            guardian=_path(env["ZIMAGE_GUARDIAN"]) if env.get("ZIMAGE_GUARDIAN") else None,
            unguarded=bool(env.get(UNGUARDED)),
            guarded=env.get(SERVER) in {NEW, str(os.getpid())},
            listen_fds=_handed_down(env),
            notify_socket=env.get("NOTIFY_SOCKET", ""),
            disk=disk,
            idle_minutes=reader.number(
                "ZIMAGE_IDLE_MINUTES", IDLE_MINUTES, 0, math.inf, "0, 10, …"
            ),
            interrupt_seconds=reader.number(
                "ZIMAGE_INTERRUPT", INTERRUPT_SECONDS, 0, math.inf, "0, 30, …"
            ),
            interrupt_is_set=bool(env.get("ZIMAGE_INTERRUPT")),
            hosts=_names(env.get("ZIMAGE_HOSTS", "").lower()),
            megapixels=reader.number("ZIMAGE_MAX_MEGAPIXELS", MEGAPIXELS, 1, MOST_MEGAPIXELS),
            deadlines=reader.numbers(
                "ZIMAGE_DEADLINES", DEADLINES, "turbo.cuda=8,grace=20", SAMPLING
            ),
            auto_deadlines=reader.automatic("ZIMAGE_DEADLINES", SAMPLING),
            limits=reader.numbers("ZIMAGE_LIMITS", r"[a-z]+", "waiting=5000,steps=100"),
            guard=reader.numbers(GUARD, r"[a-z_]+", "silence=30,grace=120"),
            sandbox=reader.choice("ZIMAGE_SANDBOX", SANDBOX_MODES),
            color=not env.get("NO_COLOR") and env.get("TERM") != "dumb",
            ci=env.get("CI", "").lower() in {"1", "true", "yes"},
            unfit=(*reader.unfit, *disk.unfit),
        )


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _is_automatic(word: str, names: str) -> bool:
    return re.fullmatch(rf"({names})\s*=\s*auto", word.strip()) is not None


def _names(text: str) -> frozenset[str]:
    """Words with commas or spaces between."""
    return frozenset(re.split(r"[,\s]+", text.strip())) - {""}


def _float(text: str) -> float:
    """The number in a text, NaN for any other."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_address(url: str, mail: bool) -> bool:
    """Whether an alert can be sent there, as far as one can see."""
    try:
        parts = urlsplit(url)
        if mail:
            fit = parts.scheme in {"smtp", "smtps"} and "to" in parse_qs(parts.query)
            return bool(fit and parts.hostname and parts.port != 0)
        if parts.scheme in {"http", "https"}:
            return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False
    return bool(parts.scheme) and "://" in url


def _handed_down(env: Mapping[str, str]) -> int:
    """Sockets meant for this process and no child of it, as ``sd_listen_fds(3)`` says."""
    count = env.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and env.get("LISTEN_PID") == str(os.getpid()) else 0
