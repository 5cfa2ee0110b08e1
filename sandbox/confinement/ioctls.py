"""Commands to devices and files (``ioctl``) that a confined process may give."""

from __future__ import annotations

from .bpf import ALLOW, Clause, Rule, Test, errno

_ALLOWED = (
    *(0x5401, 0x802C542A, 0x5413, 0x540F),  # is it a terminal, how large, whose: only questions
    *(0x5450, 0x5451, 0x5421, 0x5452, 0x541B, 0x5411),  # (non-)inherited, (non-)blocking, filled
    *(0x40049409, 0x4020940D),  # copies that share their blocks
    *(0x80086601, 0x801C581F, 2),  # attributes of a file: only questions; size of a block
    *range(0x8910, 0x8922, 1),  # addresses of this machine, of which changing needs privileges
    *(0x8927, 0x8933, 0x8942),
)
# An owner may do these to files that can only be read: seal one for ever, encrypt, change flags.
# The others put input into a terminal, take one over, or have signals sent to whom one names.
_REFUSED = (
    *(0x40086602, 0x40046602, 0x401C5820, 0x40806685, 0x800C6613),
    *(0x5412, 0x541C, 0x540E, 0x5423, 0x541D, 0x5410),
    *(0x8901, 0x8902),
)


def rule(gpu: bool) -> Rule:
    """A list of what is allowed, or with a GPU of what is not.

    NVIDIA's driver numbers its commands by itself, some of them 1, 2, 3; which devices they reach
    is Landlock's.
    """
    if gpu:
        return Rule(ALLOW, (Clause(errno(1), (Test(1, _REFUSED),)),))
    return Rule(errno(1), (Clause(ALLOW, (Test(1, _ALLOWED),)),))
