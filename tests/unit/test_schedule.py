"""The official noise levels."""

import pytest
import torch

from zimage_comfyui.engine.schedule import official_sigmas


def test_unshifted_levels_are_even():
    """Shift 1 leaves the levels evenly spaced, ending in exactly 0."""
    assert official_sigmas(4, 1.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_shift_bends_towards_noise():
    """The middle of 2 steps at shift 3 is 3 * 0.5 / 2 = 0.75."""
    assert official_sigmas(2, 3.0).tolist() == [1.0, 0.75, 0.0]


@pytest.mark.parametrize("steps", [1, 8, 28, 50])
def test_levels_fall(steps: int):
    """One more level than steps, strictly falling from 1 to 0."""
    sigmas = official_sigmas(steps, 6.0)
    assert sigmas.shape == (steps + 1,)
    assert sigmas[0] == 1.0
    assert torch.all(sigmas.diff() < 0)


def test_denoise_takes_the_end_of_a_longer_schedule():
    """Half the denoising in 4 steps is the second half of 8 steps."""
    assert torch.equal(official_sigmas(4, 3.0, denoise=0.5), official_sigmas(8, 3.0)[-5:])
