"""Datagrams between the host and the template process.

A request comes with three descriptors: for frames, for descriptors, and for standard output.

A reply has a kind, the token of its request, and the status of ``waitpid``. The kinds are ``r``
(the template is ready), ``s`` (a worker has started; the worker itself sends this) and ``e`` (a
worker has ended). The host reads the process id of a new worker from the credentials of the reply,
since a process in a namespace of its own does not know which number others see.
"""

from __future__ import annotations

import struct

REQUEST = struct.Struct("<Q")
REPLY = struct.Struct("<cQq")
