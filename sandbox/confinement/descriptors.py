"""The open descriptors of a confined process.

No mechanism revokes open descriptors: an open file can be read or written, and a connected socket
used, whatever the rules say about opening.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection


def close_others(keep: Collection[int]) -> None:
    """Close every descriptor except these, also 0, 1 and 2 if they are not among them.

    Call it before :func:`.confine`, which opens some that have to stay open.

    Args:
        keep: descriptors that stay open.

    Raises:
        OSError: the open descriptors cannot be listed.
    """
    # Few are open, whereas the limit of descriptors can be a billion.
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        if int(name) not in keep:
            with contextlib.suppress(OSError):  # the one that listed the folder
                os.close(int(name))
