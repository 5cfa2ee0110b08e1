"""Alerts to the operator: a webhook, mail, or any service of Apprise if that is installed.

Each channel has its own thread, so that a mail server that does not respond delays nothing. A
channel that fails is logged once, until it has worked again.
"""

from __future__ import annotations

import importlib
import json
import logging
import smtplib
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ...config import Disk
from ...errors import ZImageError
from ...errors.bilingual import Bilingual

log = logging.getLogger(__name__)

SECONDS = 30
"""Timeout of one step of a webhook or mail server."""

Event = dict[str, Any]
"""``event`` (a code), ``time`` (ISO 8601, UTC), ``host``, ``zh``, ``en``, and what was found."""


class Alerts:
    """The channels of the settings."""

    def __init__(self, settings: Disk) -> None:
        self.channels: list[tuple[str, Callable[[str, Event], None]]] = [
            (url, webhook if urlsplit(url).scheme in {"http", "https"} else apprise)
            for url in settings.alert_urls
        ]
        if settings.alert_mail:
            self.channels.append((settings.alert_mail, mail))
        self._failing: set[str] = set()

    def send(self, error: ZImageError) -> list[threading.Thread]:
        """Send an alert to all channels without waiting; return the threads that do it."""
        event = {
            "event": error.code,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "zh": error.chinese,
            "en": error.english,
            **{name: _plain(value) for name, value in error.found.items()},
        }
        threads = [
            threading.Thread(
                target=self._send, args=(*channel, event), name="zimage-alert", daemon=True
            )
            for channel in self.channels
        ]
        for thread in threads:
            thread.start()
        return threads

    def _send(self, url: str, deliver: Callable[[str, Event], None], event: Event) -> None:
        try:
            deliver(url, event)
        except Exception as error:  # noqa: BLE001 - Apprise has many senders
            if url not in self._failing:
                self._failing.add(url)
                # The address may contain a secret, and the error's text may contain the address.
                reason = getattr(error, "reason", "") or type(error).__name__
                log.warning("Z-Image: no alert to %s://… (%s)", urlsplit(url).scheme, reason)
        else:
            self._failing.discard(url)


def _plain(value: object) -> object:
    """Return a value for JSON; a bilingual one is English, like the names of the fields."""
    return value.english if isinstance(value, Bilingual) else value


def webhook(url: str, event: Event) -> None:
    """POST an event as JSON; raises every failure, also a status of 400 and above."""
    data = json.dumps(event, ensure_ascii=False, default=str).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - http(s), see Alerts
    with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
        response.read(1)


def mail(url: str, event: Event) -> None:
    """Send a mail by ``smtp[s]://user:password@host:port/?from=…&to=…``.

    A password is sent only over an encrypted connection (``smtps``, or STARTTLS where offered).
    Raises every failure.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query.replace("+", "%2B")).items()}
    message = EmailMessage()
    message["Subject"] = f"[{event['event']}] {event['host']}"
    message["To"] = query["to"]
    message["From"] = query.get("from", query["to"])
    message.set_content(f"{event['zh']}\n\n{event['en']}\n\n{event['time']}\n")
    context = ssl.create_default_context()
    with _connect(parts, context) as client:
        client.ehlo()
        encrypted = parts.scheme == "smtps"
        if not encrypted and client.has_extn("starttls"):
            client.starttls(context=context)
            encrypted = True
        if parts.username:
            if not encrypted:
                raise smtplib.SMTPNotSupportedError("STARTTLS")
            client.login(unquote(parts.username), unquote(parts.password or ""))
        client.send_message(message)


def _connect(parts: SplitResult, context: ssl.SSLContext) -> smtplib.SMTP:
    host = parts.hostname or ""
    if parts.scheme == "smtps":
        return smtplib.SMTP_SSL(host, parts.port or 465, timeout=SECONDS, context=context)
    return smtplib.SMTP(host, parts.port or 25, timeout=SECONDS)


def apprise(url: str, event: Event) -> None:
    """Send an event with Apprise; raises ``ImportError`` without it."""
    sender = importlib.import_module("apprise").Apprise()
    title = f"[{event['event']}] {event['host']}"
    if not sender.add(url) or not sender.notify(title=title, body=f"{event['zh']}\n{event['en']}"):
        raise OSError("apprise")
