"""Commands to devices and files (``ioctl``) of a confined process: see ``system_calls.md``."""

from __future__ import annotations

from .bpf import ALLOW, ArgumentTest, CallRule, Clause, errno
from .system_calls_document import values


def rule(gpu: bool) -> CallRule:
    """Return a rule that lists what is allowed; with a GPU, what is refused.

    The numbers of NVIDIA's commands are its own, such as 1, 2 and 3. Landlock limits the devices
    that they reach.
    """
    if gpu:
        refused = ArgumentTest(1, values("ioctl, refused"))
        return CallRule(ALLOW, (Clause(errno(1), (refused,)),))
    allowed = ArgumentTest(1, values("ioctl"))
    return CallRule(errno(1), (Clause(ALLOW, (allowed,)),))
