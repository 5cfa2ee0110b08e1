"""Z-Image Keep: what an edit did not change becomes the original's own pixels."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from zimage_comfyui.errors import ZImageError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE = 64


@pytest.fixture(scope="module")
def keeping(comfy_modules):
    from zimage_comfyui.engine import edit_restore

    return edit_restore


@pytest.fixture
def original() -> torch.Tensor:
    """Grain everywhere, [1, 64, 64, 3]."""
    noise = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(1))
    return 0.4 + 0.2 * noise


def edited(original: torch.Tensor) -> torch.Tensor:
    """A square repainted, and all of it as a model gives it back: a little off everywhere."""
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(2))
    after = original + 0.02 * noise
    after[:, 20:40, 20:40] = torch.tensor([0.9, 0.1, 0.1])
    return after.clamp(0, 1)


def test_what_did_not_change_is_the_original_to_the_bit(keeping, original):
    """Away from the edit every pixel is the original's; within it every pixel is the edit's."""
    after = edited(original)
    made, mask = keeping.put_back(after, original)
    far = torch.ones(SIZE, SIZE, dtype=torch.bool)
    far[8:52, 8:52] = False
    assert torch.equal(made[0][far], original[0][far])
    assert torch.equal(made[0, 21:39, 21:39], after[0, 21:39, 21:39])
    assert mask.shape == (1, SIZE, SIZE)
    assert mask[0, 21:39, 21:39].min() == 1
    assert mask[0][far].max() == 0


def test_an_edge_that_fades_belongs_to_its_change(keeping, original):
    """A glow around the edit, too weak to be a change by itself, is kept where it joins one."""
    after = original.clone()
    after[:, 20:40, 20:40] += 0.4
    after[:, 20:40, 40:50] += 10 / 255  # between tolerance and four times as much
    after[:, 50:60, 4:14] += 10 / 255  # the same by itself
    _, mask = keeping.put_back(after, original)
    assert mask[0, 25:35, 43:47].min() == 1
    assert mask[0, 50:60, 4:14].max() == 0


@pytest.mark.parametrize("tolerance", [0, 255])
def test_the_ends_of_the_tolerance(keeping, original, tolerance: float):
    """0 leaves the edit as it is, 255 gives the original."""
    after = original.flip(1)
    made, _ = keeping.put_back(after, original, tolerance)
    assert torch.equal(made, original if tolerance else after)


def test_several_edits_and_an_original_of_another_size(keeping, original):
    """Each edit is compared with the one original, brought to its size; grey and alpha are read."""
    grey = torch.full((1, 2 * SIZE, 2 * SIZE, 1), 0.5)
    clear = torch.cat([torch.zeros(1, SIZE, SIZE, 3), torch.zeros(1, SIZE, SIZE, 1)], -1)
    pair = torch.cat([torch.full((1, SIZE, SIZE, 3), 0.51), torch.ones(1, SIZE, SIZE, 3)])
    made, mask = keeping.put_back(pair, grey)
    assert made[0].sub(0.5).abs().max() < 1 / 255  # scaled in 8 bits
    assert torch.equal(made[1], pair[1])
    assert mask.mean((1, 2)).tolist() == [0, 1]
    assert keeping.put_back(pair[1:], clear)[1].max() == 0  # transparent is white


def test_each_edit_has_an_original_of_its_own(keeping):
    """As many originals as edits are compared in order, as if one pair after the other came."""
    originals = torch.rand(3, SIZE, SIZE, 3)
    edits = originals.clone()
    edits[1] = 1 - edits[1]
    made, masks = keeping.put_back(edits, originals)
    for number in range(3):
        picture = slice(number, number + 1)
        alone, mask = keeping.put_back(edits[picture], originals[picture])
        assert torch.equal(made[picture], alone)
        assert torch.equal(masks[picture], mask)
    assert torch.equal(made[2], originals[2])


@pytest.mark.parametrize(("edits", "originals"), [(1, 2), (3, 2), (2, 3)])
def test_another_number_of_originals_is_refused(keeping, edits: int, originals: int):
    """None is left out without a word; the message has the number that was found."""
    with pytest.raises(ZImageError) as caught:
        keeping.put_back(torch.zeros(edits, 8, 8, 3), torch.zeros(originals, 8, 8, 3))
    assert caught.value.code == "ZI-PICTURE-COUNT"
    assert f"original has {originals} pictures" in caught.value.english


def test_a_large_picture_takes_little_more_than_its_result(keeping):
    """Beside both pictures and the result: as much as three more, whatever is in them."""
    before = torch.full((1, 1536, 1536, 3), 0.5)
    after = torch.rand(before.shape)
    keeping.put_back(after, before)  # what libraries keep for themselves
    began = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    made = keeping.put_back(after, before)
    of_pictures = (_memory("VmHWM") - began) / before.nbytes
    assert made[0].shape == before.shape
    assert of_pictures < 4 / 3 + 3.5


def _memory(name: str) -> int:
    """Bytes of this process, now or at most since they were reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("ZI-VALUE", {"tolerance": -1}),
        ("ZI-VALUE", {"tolerance": 256}),
        ("ZI-VALUE", {"tolerance": float("nan")}),
        ("ZI-PICTURE", {"edited": torch.zeros(1, 8, 8, 2)}),
        ("ZI-PICTURE", {"edited": torch.zeros(0, 8, 8, 3)}),
        ("ZI-PICTURE", {"edited": torch.zeros(1, 0, 8, 3)}),
        ("ZI-PICTURE", {"original": torch.zeros(1, 8, 0, 3)}),
        ("ZI-PICTURE", {"edited": torch.full((1, 8, 8, 3), float("nan"))}),
        ("ZI-PICTURE", {"original": torch.zeros(8, 8, 3)}),
        ("ZI-PICTURE", {"original": torch.full((1, 8, 8, 3), float("inf"))}),
    ],
)
def test_what_cannot_be_compared_has_a_code(keeping, original, code: str, wrong: dict):
    """Values and pictures that make no sense are refused before anything is done."""
    given = {"edited": original, "original": original, "tolerance": 12} | wrong
    with pytest.raises(ZImageError) as caught:
        keeping.put_back(**given)
    assert caught.value.code == code
