"""Remembers whether the script of this pack ran in this process."""

import sys

RAN = getattr(sys, "_outside_script_ran", False)
