"""Commands to devices and files (``ioctl``) that a confined process may give: ``calls.md``."""

from __future__ import annotations

from .bpf import ALLOW, Clause, Rule, Test, errno
from .explained import values


def rule(gpu: bool) -> Rule:
    """A list of what is allowed, or with a GPU of what is not.

    NVIDIA's driver numbers its commands by itself, some of them 1, 2, 3; which devices they reach
    is Landlock's.
    """
    if gpu:
        return Rule(ALLOW, (Clause(errno(1), (Test(1, values("ioctl, refused")),)),))
    return Rule(errno(1), (Clause(ALLOW, (Test(1, values("ioctl")),)),))
