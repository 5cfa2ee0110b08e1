"""The base of every part: hooks into the host, the list of parts, the running server.

The order of the middlewares around a request is in ``requests/pipeline.py``. The order of the parts
around a prompt is in ``base/lifecycle.py``.
"""
