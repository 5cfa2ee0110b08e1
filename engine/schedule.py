"""The noise levels at which the official pipeline evaluates the model.

ComfyUI's ``simple`` scheduler selects from a table of 1000 levels. Where the number of steps
divides 1000 (8, the Turbo preset), its levels are equal to the official ones, bit by bit. For other
numbers (28, 30, ...) it rounds the index, and a level differs by up to 0.003. This module computes
the official schedule for every number of steps.
"""

from __future__ import annotations

import torch


def official_sigmas(steps: int, shift: float, denoise: float = 1.0) -> torch.Tensor:
    """Return the noise levels of the official pipeline: evenly spaced in time, then shifted.

    ``sigma(t) = shift * t / (1 + (shift - 1) * t)`` at ``t = 1, 1 - 1/n, ..., 1/n``, then 0
    (diffusers, ``ZImagePipeline`` with ``FlowMatchEulerDiscreteScheduler``).

    Args:
        steps: evaluations of the model, >= 1.
        shift: 3.0 for Turbo, 6.0 for Base; 1.0 for evenly spaced levels.
        denoise: in (0, 1]; below 1 only the last ``steps`` of ``steps / denoise`` levels are used,
            as ComfyUI does.

    Returns:
        float32, ``[steps + 1]``, falling from at most 1 to exactly 0.
    """
    total = int(steps / denoise)
    times = torch.arange(total, 0, -1, dtype=torch.float32) / total
    sigmas = shift * times / (1 + (shift - 1) * times)
    return torch.cat([sigmas, torch.zeros(1)])[-(steps + 1) :]
