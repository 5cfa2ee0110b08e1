"""HTTP requests and responses between host and worker.

A request is a dictionary of ``method``, ``target`` (path and query), ``headers`` and ``body``; a
response one of ``status``, ``headers`` and ``body``. Headers are lists of name and value.
"""

LARGEST_RESPONSE_BYTES = 64 * 2**20
"""Limit of a response body: the worker stops there, and the host refuses more."""
