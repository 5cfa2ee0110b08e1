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
"""This folder. Not resolved: it may be a link in a ``custom_nodes``."""
IDLE_MINUTES = 10.0
INTERRUPT_SECONDS = 30.0
MEGAPIXELS, MAX_MEGAPIXELS = 100.0, 178.0
"""Default and largest limit of a picture. Pillow refuses pictures above the largest."""
SAMPLING = r"(?:turbo|base|edit)\.(?:cuda|cpu)"
DEADLINES = rf"{SAMPLING}|grace"
"""Names in ``$ZIMAGE_DEADLINES``; all but ``grace`` may be ``auto``."""
SANDBOX_MODES = ("auto", "strict", "off")
GUARD = "ZIMAGE_GUARD"


class InvalidValue(NamedTuple):
    """A variable with an invalid value, so that its default is used.

    Attributes:
        name: the variable.
        found: the value, or the invalid part; ``…`` if it may be secret.
        expected: valid values.
    """

    name: str
    found: str
    expected: str

    @property
    def error(self) -> ZImageError:
        """``ZI-SETTING``, for the log or the terminal."""
        return ZImageError("ZI-SETTING", **self._asdict())


class Reader:
    """Reads variables and collects those with invalid values.

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
        """Return pairs of ``name=number``, separated by commas, without the invalid ones.

        Args:
            name: the variable.
            names: regular expression of valid names.
            expected: an example.
            automatic: regular expression of names that may be ``auto``.
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
        """Return the names that are set to ``auto`` in pairs separated by commas."""
        words = self.env.get(name, "").split(",")
        return frozenset(
            word.partition("=")[0].strip() for word in words if _is_automatic(word, names)
        )

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return one of the choices; None if the variable is unset or invalid."""
        text = self.env.get(name, "")
        if text in choices:
            return text
        if text:
            self.unfit.append(InvalidValue(name, text, ", ".join(choices)))
        return None

    def addresses(self, name: str, expected: str, mail: bool = False) -> tuple[str, ...]:
        """Return addresses for alerts, separated by spaces, without the invalid ones."""
        words = tuple(self.env.get(name, "").split())
        usable = tuple(url for url in words if _is_address(url, mail))
        if usable != words:  # the value may be secret
            self.unfit.append(InvalidValue(name, "…", expected))
        return usable


@dataclass(frozen=True)
class Disk:
    """Settings of the disk guard. An invalid value leaves the default in place.

    Attributes:
        keep_days: older files in ComfyUI's output and temp folders are deleted, with 0 none
            (``$ZIMAGE_KEEP_DAYS``, 0 to 36500). The default is 0: in a user's own ComfyUI, they are
            the user's pictures.
        percent: of a disk's space or inodes in use, above which new prompts are refused
            (``$ZIMAGE_DISK_PERCENT``, 10 to 100).
        alert_urls: where alerts go (``$ZIMAGE_ALERT_URL``, separated by spaces): http and https
            addresses get JSON, all others are Apprise's.
        alert_mail: ``smtp[s]://user:password@host:port/?from=…&to=…`` (``$ZIMAGE_ALERT_MAIL``).
        unfit: these variables with invalid values.
    """

    keep_days: float = 0.0
    percent: float = 90.0
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    alert_mail: str = field(default="", repr=False)
    unfit: tuple[InvalidValue, ...] = ()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Disk:
        """Read the settings. This never fails."""
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
"""The guardian starts each of its servers with this variable and value."""
UNGUARDED = "ZIMAGE_UNGUARDED"
"""Set by ``serve`` for a server whose guardian could not run."""


def claim() -> None:
    """Replace the guardian's value by this process's id.

    The process keeps the variable when it executes itself again, and a child has the id of another
    process.
    """
    os.environ[SERVER] = str(os.getpid())


@dataclass(frozen=True)
class Settings:
    """Everything that the product reads from its environment.

    Attributes:
        home: private environment, embedded host and caches (``$ZIMAGE_HOME``).
        log_dir: where logs go (``$ZIMAGE_LOG_DIR``), or None.
        comfyui: the ComfyUI named by ``$COMFYUI_PATH``, or None.
        active_env: the virtual or conda environment the user has activated, or None.
        off: parts of the hardening that are off (``$ZIMAGE_OFF``, separated by commas).
        guardian: control socket of the guardian that started this server
            (``$ZIMAGE_GUARDIAN``), or None.
        guarded: whether that guardian has started this process (``$ZIMAGE_SERVER``), not a parent
            that has passed on its environment; see :func:`claim`.
        unguarded: whether ``serve`` has started this server without a guardian because the guardian
            could not run (``$ZIMAGE_UNGUARDED``).
        listen_fds: listening sockets from systemd (``$LISTEN_FDS``).
        notify_socket: systemd's socket for the state of a service (``$NOTIFY_SOCKET``).
        disk: see :class:`Disk`.
        idle_minutes: minutes without a prompt after which models are unloaded, 0 for never
            (``$ZIMAGE_IDLE_MINUTES``).
        interrupt_seconds: seconds for an interrupted prompt to end, after which its process is
            ended, 0 for no limit (``$ZIMAGE_INTERRUPT``).
        interrupt_is_set: whether ``$ZIMAGE_INTERRUPT`` has a value.
        hosts: further names of this server, in lower case (``$ZIMAGE_HOSTS``, separated by commas).
        megapixels: size of the largest picture that is opened, width x height / 10^6
            (``$ZIMAGE_MAX_MEGAPIXELS``, 1 to 178).
        deadlines: seconds for sampling one megapixel, by variant and device, as
            ``{"turbo.cuda": 8.0}``, and ``grace`` (``$ZIMAGE_DEADLINES``,
            ``turbo.cuda=8,edit.cpu=900,grace=20``).
        auto_deadlines: variants and devices whose own steps set the deadline, as ``turbo.cuda``
            (``$ZIMAGE_DEADLINES``, ``turbo.cuda=auto``).
        limits: limits of requests that differ from the defaults, by the names in
            :data:`.patches.requests.fuse.LIMITS` (``$ZIMAGE_LIMITS``, ``waiting=5000,steps=100``).
        guard: limits of the guardian that differ from the defaults, by their names in
            :class:`.guardian.limits.Limits` (``$ZIMAGE_GUARD``, ``silence=30,grace=120``).
        sandbox: overrides ``mode`` in ``sandbox.toml`` (``$ZIMAGE_SANDBOX``: ``auto``,
            ``strict``, ``off``), or None.
        color: whether output to a terminal has colours; False if ``$NO_COLOR`` is set
            (https://no-color.org) or ``$TERM`` is ``dumb``.
        ci: whether this is CI (``$CI``), where a missing test tool is a failure, not a skip.
        unfit: variables with invalid values, including those of :class:`Disk`.
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
        """The user's data of the embedded host: pictures, workflows, models."""
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
            listen_fds=_listen_fds(env),
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
            megapixels=reader.number("ZIMAGE_MAX_MEGAPIXELS", MEGAPIXELS, 1, MAX_MEGAPIXELS),
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
    """Return words that are separated by commas or spaces."""
    return frozenset(re.split(r"[,\s]+", text.strip())) - {""}


def _float(text: str) -> float:
    """Return the number in a text, NaN if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_address(url: str, mail: bool) -> bool:
    """Return whether an alert address is well-formed."""
    try:
        parts = urlsplit(url)
        if mail:
            is_mail = parts.scheme in {"smtp", "smtps"} and "to" in parse_qs(parts.query)
            return bool(is_mail and parts.hostname and parts.port != 0)
        if parts.scheme in {"http", "https"}:
            return bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False
    return bool(parts.scheme) and "://" in url


def _listen_fds(env: Mapping[str, str]) -> int:
    """Return the number of sockets for this process, not for its parent: ``sd_listen_fds(3)``."""
    count = env.get("LISTEN_FDS", "")
    return int(count) if count.isdecimal() and env.get("LISTEN_PID") == str(os.getpid()) else 0
