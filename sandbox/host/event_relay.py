"""Events of a worker on their way to the page, at a limited rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from .calls import PendingCall
from .inbound import leases_in
from .pack_events import TokenBucket, UnsolicitedEvents, forward_event


class EventRelay:
    """Delivers the events of one worker.

    Args:
        unsolicited: limits the rate of events that belong to no call.
        unpack: deserializes the value of an event.
        return_leases: returns the leases of an event that is not delivered.
    """

    def __init__(
        self,
        unsolicited: UnsolicitedEvents,
        unpack: Callable[[m.Value], Any],
        return_leases: Callable[[list[int]], None],
    ) -> None:
        self.unsolicited = unsolicited
        self.bucket = TokenBucket()
        self._unpack = unpack
        self._return_leases = return_leases

    def discard(self, frame: Any) -> None:
        """Return the leases of a frame that nobody will read."""
        self._return_leases(leases_in(frame))

    def deliver(self, pending: PendingCall, event: m.Event) -> None:
        """Pass on an event of a call.

        Progress can come faster than a page can show it; then only the newest is delivered, later.
        """
        if event.kind != "progress":
            if pending.on_event is not None and self.bucket.take():
                self._pass_on(pending, event)
            else:
                self.discard(event)
            return
        if pending.delayed_progress is not None:
            self.discard(pending.delayed_progress)
            pending.delayed_progress = None
        if self.bucket.take():
            self._pass_on(pending, event)
        else:
            pending.delayed_progress = event

    def deliver_last_progress(self, pending: PendingCall, result: m.Done | m.Failed) -> None:
        """Pass on delayed progress before the result of the call.

        Args:
            pending: the call.
            result: its leases are returned if the progress interrupts the call.
        """
        if pending.delayed_progress is None:
            return
        try:
            self._pass_on(pending, pending.delayed_progress)
        except BaseException:
            self.discard(result)
            raise

    def deliver_outside_call(self, event: m.Event) -> None:
        """Pass on an event of a thread that the pack has started."""
        if event.kind == "send" and self.unsolicited.take():
            forward_event(event.kind, self._unpack(event.value), None)
        else:
            self.discard(event)

    def _pass_on(self, pending: PendingCall, event: m.Event) -> None:
        value = self._unpack(event.value)
        if pending.on_event is not None:
            pending.on_event(event.kind, value)
