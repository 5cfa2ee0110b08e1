"""Tells the operator: a webhook, mail, or whatever Apprise can reach if it is installed.

Each way has a thread of its own, so that a mail server that does not answer holds up nothing. One
that fails is told once in the log, until it has worked again.
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
from urllib.parse import parse_qs, unquote, urlsplit

from ...config import Disk
from ...errors import ZImageError

log = logging.getLogger(__name__)

SECONDS = 30
"""How long a webhook or mail server may take for one step."""

Event = dict[str, Any]
"""``event`` (a code), ``time`` (ISO 8601, UTC), ``host``, ``zh``, ``en``, and what was found."""


class Alerts:
    """The ways that the settings name."""

    def __init__(self, settings: Disk) -> None:
        self.ways: list[tuple[str, Callable[[str, Event], None]]] = [
            (url, webhook if urlsplit(url).scheme in {"http", "https"} else apprise)
            for url in settings.alert_urls
        ]
        if settings.alert_mail:
            self.ways.append((settings.alert_mail, mail))
        self._failing: set[str] = set()

    def tell(self, error: ZImageError) -> list[threading.Thread]:
        """Send to all, without waiting; gives the threads that do it."""
        event = {
            "event": error.code,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "zh": error.chinese,
            "en": error.english,
            **{name: value for name, value in error.found.items() if name != "what_zh"},
        }
        threads = [
            threading.Thread(
                target=self._send, args=(*way, event), name="zimage-alert", daemon=True
            )
            for way in self.ways
        ]
        for thread in threads:
            thread.start()
        return threads

    def _send(self, url: str, way: Callable[[str, Event], None], event: Event) -> None:
        try:
            way(url, event)
        except Exception as error:  # noqa: BLE001 - Apprise has many senders
            if url not in self._failing:
                self._failing.add(url)
                # The address stays out of the log, and so does what may repeat it: it is a secret.
                why = getattr(error, "reason", "") or type(error).__name__
                log.warning("Z-Image: no alert to %s://… (%s)", urlsplit(url).scheme, why)
        else:
            self._failing.discard(url)


def webhook(url: str, event: Event) -> None:
    """POST the event as JSON; raises what goes wrong, also a status of 400 and above."""
    data = json.dumps(event, ensure_ascii=False, default=str).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - http(s), see Alerts
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
        answer.read(1)


def mail(url: str, event: Event) -> None:
    """Send a mail by ``smtp[s]://user:password@host:port/?from=…&to=…``.

    A password goes over an encrypted connection (``smtps``, or STARTTLS where offered) or not at
    all. Raises what goes wrong.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query.replace("+", "%2B")).items()}
    message = EmailMessage()
    message["Subject"] = f"[{event['event']}] {event['host']}"
    message["To"] = query["to"]
    message["From"] = query.get("from", query["to"])
    message.set_content(f"{event['zh']}\n\n{event['en']}\n\n{event['time']}\n")
    encrypted = parts.scheme == "smtps"
    context = ssl.create_default_context()
    if encrypted:
        client = smtplib.SMTP_SSL(parts.hostname or "", parts.port or 465, timeout=SECONDS,
                                  context=context)  # fmt: skip
    else:
        client = smtplib.SMTP(parts.hostname or "", parts.port or 25, timeout=SECONDS)
    with client:
        client.ehlo()
        if not encrypted and client.has_extn("starttls"):
            client.starttls(context=context)
            encrypted = True
        if parts.username:
            if not encrypted:
                raise smtplib.SMTPNotSupportedError("STARTTLS")
            client.login(unquote(parts.username), unquote(parts.password or ""))
        client.send_message(message)


def apprise(url: str, event: Event) -> None:
    """Hand it to Apprise; raises ``ImportError`` without it."""
    sender = importlib.import_module("apprise").Apprise()
    title = f"[{event['event']}] {event['host']}"
    if not sender.add(url) or not sender.notify(title=title, body=f"{event['zh']}\n{event['en']}"):
        raise OSError("apprise")
