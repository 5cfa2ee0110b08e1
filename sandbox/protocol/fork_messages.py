"""Messages between the host and its template process, which forks the workers."""

import struct

REQUEST = struct.Struct("<Q")
"""A token; three descriptors come with it: frames, descriptors, log."""
REPLY = struct.Struct("<cQq")
"""Kind, token, wait status.

Kinds: ``r``, the template is ready (its number of threads in place of the status); ``s``, a worker
has started, which it sends itself; ``e``, a worker has ended. The host reads the process id of a
worker from the message's credentials: in a PID namespace a process does not know its outer id.
"""
