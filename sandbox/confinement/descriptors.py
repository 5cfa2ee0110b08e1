"""Which descriptors a confined process keeps.

No mechanism takes back what is open already: an open file can be read or written, and a connected
socket used, whatever the rules say about opening.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection


def close_others(keep: Collection[int]) -> None:
    """Close every descriptor but these; 0, 1 and 2 are closed too unless they are among them.

    To be called before :func:`.confine`, which opens some that have to stay.

    Raises:
        OSError: the open descriptors cannot be listed.
    """
    # Those that are open are few; ranges up to the limit can be a billion numbers long.
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        if int(name) not in keep:
            with contextlib.suppress(OSError):  # the one with which the folder was listed
                os.close(int(name))
