"""The little world: what is drawn is what the scene says, and the same every time."""

import random
from dataclasses import replace

import numpy as np
import pytest

from zimage_comfyui.demo import captions, checker, world


def test_there_are_2304_scenes_and_one_in_six_is_held_out():
    """The split is fixed, and every value of every field is on both sides."""
    scenes = world.all_scenes()
    held_out = [scene for scene in scenes if world.is_held_out(scene)]
    assert (len(set(scenes)), len(held_out)) == (2304, 384)
    for side in (held_out, [scene for scene in scenes if not world.is_held_out(scene)]):
        assert {scene.subject for scene in side} == set(world.SUBJECTS)
        assert {scene.colour for scene in side} == set(world.COLOURS)
        assert {scene.background for scene in side} == set(world.BACKGROUNDS)
        assert {scene.place for scene in side} == set(world.PLACES)
        assert {scene.style for scene in side} == set(world.STYLES)


@pytest.mark.parametrize("size", world.SIZES)
def test_the_same_seed_draws_the_same_picture(size: tuple[int, int]):
    """Another seed varies it, and the size is what was asked for."""
    scene = world.Scene("vase", "blue", "pink", "left", "ink")
    first, again, other = (world.render(scene, size, seed) for seed in (7, 7, 8))
    assert first.size == size
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_checker_is_right_on_at_least_99_percent_of_the_truth():
    """On pictures drawn with seeds of this very run, in all sizes."""
    rng = random.Random()
    seed = rng.randrange(2**32)
    rng.seed(seed)
    wrong = []
    for scene in rng.choices(world.all_scenes(), k=300):
        picture = world.render(scene, rng.choice(world.SIZES), rng.randrange(2**32))
        if not all(checker.read(picture).matches(scene).values()):
            wrong.append((scene, checker.read(picture)))
    assert len(wrong) <= 3, f"seed {seed}: {wrong}"


@pytest.mark.parametrize(
    ("field", "value"),
    [("subject", "star"), ("colour", "green"), ("background", "navy"), ("place", "right"),
     ("style", "ink")],
)  # fmt: skip
def test_checker_sees_each_field_change(field: str, value: str):
    """A picture of something else is wrong in exactly the field that differs."""
    scene = world.Scene("vase", "red", "white", "left", "poster")
    picture = world.render(replace(scene, **{field: value}), seed=3)
    matches = checker.read(picture).matches(scene)
    assert [name for name, same in matches.items() if not same] == [field]


def test_checker_finds_no_subject_in_an_empty_picture():
    """Plain paper has a background and nothing on it."""
    from PIL import Image

    reading = checker.read(Image.new("RGB", (128, 128), world.BACKGROUNDS["yellow"]))
    assert (reading.subject, reading.colour, reading.background) == (None, None, "yellow")


def test_outlines_of_the_subjects_differ():
    """No two outlines overlap by more than four fifths, so that shape can be told."""
    masks = {name: world.body_mask(name) for name in world.SUBJECTS}
    for a in masks:
        for b in masks:
            if a < b:
                overlap = np.sum(masks[a] & masks[b]) / np.sum(masks[a] | masks[b])
                assert overlap < 0.8, (a, b)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_full_captions_tell_scenes_apart(language: str):
    """Two scenes that differ never get the same full caption, and wordings vary."""
    rng = random.Random(0)
    owner: dict[str, world.Scene] = {}
    for scene in rng.choices(world.all_scenes(), k=3000):
        text = captions.full_caption(scene, language, rng)
        assert owner.setdefault(text, scene) == scene
    scene = world.all_scenes()[0]
    assert len({captions.full_caption(scene, language, rng) for _ in range(50)}) > 40


def test_short_captions_leave_out_only_the_default():
    """What is left out is what a user gets who does not ask for anything else."""
    rng = random.Random(0)
    nothing_default = world.Scene("ball", "red", "navy", "left", "ink")
    assert captions.short_caption(nothing_default, "zh", rng) is None
    texts = {captions.short_caption(captions.DEFAULT, "en", rng) for _ in range(200)}
    assert any(text is not None and "background" not in text for text in texts)
