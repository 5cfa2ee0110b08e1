"""Prompts from acceptance to their end: the durable queue and the worker thread."""
