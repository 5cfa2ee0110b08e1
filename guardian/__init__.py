"""A supervisor that starts ComfyUI servers, watches them and owns the listening port.

It needs only the standard library and psutil, and never imports the server. Guardian and server
exchange messages over a Unix socket, see :mod:`.channel`.
"""
