"""Settings: the one place that reads environment variables and fixed paths."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PACK_DIR = Path(os.path.abspath(__file__)).parent
"""This folder. Not resolved: it may be a link inside somebody's ``custom_nodes``."""
IDLE_MINUTES = 10.0
INTERRUPT_SECONDS = 30.0
MEGAPIXELS, MOST_MEGAPIXELS = 100.0, 178.0
"""Default and largest limit of a picture that is opened; beyond the latter Pillow refuses."""
SAMPLING = r"(?:turbo|base|edit)\.(?:cuda|cpu)"
DEADLINES = rf"{SAMPLING}|grace"
"""What ``$ZIMAGE_DEADLINES`` may name; all but ``grace`` may be ``auto``."""


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
        unfit: name, value and what was expected of variables that cannot be used.
    """

    keep_days: float = 0.0
    percent: float = 90.0
    alert_urls: tuple[str, ...] = field(default=(), repr=False)
    alert_mail: str = field(default="", repr=False)
    unfit: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Disk:
        """Reads the settings; never fails."""
        unfit: list[tuple[str, str, str]] = []

        def number(name: str, default: float, least: float, most: float) -> float:
            text = env.get(name) or str(default)
            if least <= (value := _float(text)) <= most:
                return value
            unfit.append((name, text, f"{least:g} … {most:g}"))
            return default

        def addresses(name: str, expected: str) -> tuple[str, ...]:
            found = tuple(env.get(name, "").split())
            good = tuple(url for url in found if _is_address(url, name == "ZIMAGE_ALERT_MAIL"))
            if good != found:  # what it holds may be secret
                unfit.append((name, "…", expected))
            return good

        return cls(
            keep_days=number("ZIMAGE_KEEP_DAYS", 0.0, 0, 36500),
            percent=number("ZIMAGE_DISK_PERCENT", 90.0, 10, 100),
            alert_urls=addresses("ZIMAGE_ALERT_URL", "https://…"),
            alert_mail=(*addresses("ZIMAGE_ALERT_MAIL", "smtp[s]://host/?to=…"), "")[0],
            unfit=tuple(unfit),
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
            (``$ZIMAGE_IDLE_MINUTES``; None when that is no such number).
        interrupt_seconds: for a prompt to end after it was interrupted, before it is ended with its
            process, 0 for ever (``$ZIMAGE_INTERRUPT``; None when that is no such number).
        hosts: names of this server in small letters, besides the ones that cannot be anybody's
            (``$ZIMAGE_HOSTS``, commas between).
        megapixels: width x height / 10^6 of the largest picture that is opened
            (``$ZIMAGE_MAX_MEGAPIXELS``, 1 to 178; None when that is no such number).
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
    idle_minutes: float | None = IDLE_MINUTES
    interrupt_seconds: float | None = INTERRUPT_SECONDS
    hosts: frozenset[str] = frozenset()
    megapixels: float | None = MEGAPIXELS
    deadlines: Mapping[str, float] = field(default_factory=dict)
    auto_deadlines: frozenset[str] = frozenset()
    limits: Mapping[str, float] = field(default_factory=dict)
    guard: Mapping[str, float] = field(default_factory=dict)
    sandbox: str | None = None
    color: bool = True
    ci: bool = False

    @property
    def data(self) -> Path:
        """What people make and add with the embedded host: pictures, workflows, models."""
        return self.home / "data"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Reads the settings from ``env`` (default: this process's environment)."""
        env = os.environ if env is None else env
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
            disk=Disk.from_environment(env),
            idle_minutes=_time(env.get("ZIMAGE_IDLE_MINUTES") or str(IDLE_MINUTES)),
            interrupt_seconds=_time(env.get("ZIMAGE_INTERRUPT") or str(INTERRUPT_SECONDS)),
            hosts=_names(env.get("ZIMAGE_HOSTS", "").lower()),
            megapixels=_megapixels(env.get("ZIMAGE_MAX_MEGAPIXELS") or str(MEGAPIXELS)),
            deadlines=_numbers(env.get("ZIMAGE_DEADLINES", ""), DEADLINES),
            auto_deadlines=_automatic(env.get("ZIMAGE_DEADLINES", ""), SAMPLING),
            limits=_numbers(env.get("ZIMAGE_LIMITS", ""), r"[a-z]+"),
            guard=_numbers(env.get("ZIMAGE_GUARD", ""), r"[a-z_]+"),
            sandbox=env.get("ZIMAGE_SANDBOX") or None,
            color=not env.get("NO_COLOR") and env.get("TERM") != "dumb",
            ci=env.get("CI", "").lower() in {"1", "true", "yes"},
        )


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _numbers(text: str, names: str) -> dict[str, float]:
    """``name=number``, commas between; what is something else sets nothing."""
    words = (re.fullmatch(rf"({names})\s*=\s*(\d+(?:\.\d+)?)", w.strip()) for w in text.split(","))
    return {word[1]: float(word[2]) for word in words if word}


def _automatic(text: str, names: str) -> frozenset[str]:
    """Return the names that are set to ``auto`` in a text with commas between."""
    words = (re.fullmatch(rf"({names})\s*=\s*auto", word.strip()) for word in text.split(","))
    return frozenset(word[1] for word in words if word)


def _names(text: str) -> frozenset[str]:
    """Words with commas or spaces between."""
    return frozenset(re.split(r"[,\s]+", text.strip())) - {""}


def _float(text: str) -> float:
    """The number in a text, NaN for any other."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _time(text: str) -> float | None:
    found = _float(text)
    return found if 0 <= found < math.inf else None


def _megapixels(text: str) -> float | None:
    found = _float(text)
    return found if 1 <= found <= MOST_MEGAPIXELS else None


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
