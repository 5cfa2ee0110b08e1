"""Slots for middlewares in an application of a test."""

from __future__ import annotations

from aiohttp import web

from zimage_comfyui.patches.base.middleware_slot import Slot
from zimage_comfyui.patches.requests.pipeline import Pipeline


def slots(app: web.Application) -> dict[str, Slot]:
    """Install the pipeline in an application, and return its slots by name."""
    pipeline = Pipeline()
    pipeline.install(app)
    return pipeline.slots
