"""The order of the middlewares that harden the server, in one list.

A request passes :data:`OUTER`, the host's own middlewares and those that other packs have added by
then, :data:`INNER`, and those of packs that are loaded later; the answer takes the same way back.
All slots are added to the application at once, before the server starts. A part fills its slot
when it is applied and empties it when it is reverted, so the order does not depend on when that
happens.

Three more middlewares of this pack harden nothing, and refuse or change single requests:
``page/routes.py`` (broken templates) stands just outside :data:`INNER`, ``sandbox/web/web.py``
(links out of packs, routes of packs) is the innermost of all.
"""

from __future__ import annotations

from aiohttp import web

from ...errors import ZImageError
from ..base import refusals
from ..base.middleware_slot import Handler, Slot

ERRORS = "errors"
REFUSALS = "refusals"

OUTER = (
    # Answers what malformed input causes in any handler, and judges Host and Origin, which the
    # next slot and the host's own check parse.
    ERRORS,
    # Before the host's check, which looks up Host in DNS, and before anything reads the body.
    "origins",
    # Before anything further in writes a body to a temporary file; after the judgement of origins,
    # so that a page of another site learns nothing of the disks. Answers errors of a full disk.
    "disk",
)
INNER = (
    # Answers coded errors of all slots that follow, also where the fuse is switched off.
    REFUSALS,
    # The form of a request, before the next slots read fields of it.
    "malformed",
    # Where an upload goes, before its picture is opened.
    "paths",
    # How large a picture is, before the host keeps it.
    "pictures",
    # Answers ``GET /history`` in the host's place; there is nothing to judge.
    "history",
    # Holds back the answer of ``POST /prompt`` until the prompt is durable; outside of the fuse, so
    # that the answer is complete by then.
    "queue",
    # Judges and changes prompts, and answers what the queue raises for one.
    "fuse",
    # Notes what an interrupt is meant for; innermost, so that a refused request interrupts nothing.
    "interrupt",
)


class Pipeline:
    """The slots of one application.

    Attributes:
        slots: by name, in order.
    """

    def __init__(self) -> None:
        self.slots = {name: Slot(name) for name in (*OUTER, *INNER)}

    def install(self, app: web.Application) -> None:
        """Add all slots to an application; nothing is done once that is frozen.

        Middlewares that are there already, or are added later, keep their order.
        """
        if app.frozen:
            return
        for position, name in enumerate(OUTER):
            app.middlewares.insert(position, self.slots[name].handle)
        for name in INNER:
            app.middlewares.append(self.slots[name].handle)
        for slot in self.slots.values():
            slot.installed = True
        self.slots[REFUSALS].fill(answer_refusals)


async def answer_refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what a part raises while a request is handled."""
    try:
        return await handler(request)
    except ZImageError as error:
        return refusals.refuse(request, error)
