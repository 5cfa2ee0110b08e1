"""Training data of the small models: pictures, captions as token ids, batches."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from demo import family
from demo.captions import caption
from demo.world import PLACES, SIZES, Scene, all_scenes, is_held_out, render


def picture(
    scene: Scene, size: tuple[int, int], seed: int, like: Scene | None = None
) -> torch.Tensor:
    """Render a scene, (3, H, W) in 0..1; the arguments are those of :func:`.world.render`."""
    pixels = np.asarray(render(scene, size, seed, like), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


def training_scenes() -> list[Scene]:
    """Return all scenes that are not held out, in a fixed order."""
    return [scene for scene in all_scenes() if not is_held_out(scene)]


class Vocabulary:
    """The token ids of captions, numbered from 1; any other token has number 0."""

    def __init__(self, comfyui: Path) -> None:
        from transformers import Qwen2Tokenizer

        folder = comfyui / "comfy" / "text_encoders" / "qwen25_tokenizer"
        self.tokenizer = Qwen2Tokenizer.from_pretrained(str(folder))
        rng = random.Random(0)
        scenes = all_scenes()
        texts = [caption(rng.choice(scenes), rng) for _ in range(6000)]
        self.ids = sorted({token for text in ["", *texts] for token in self._tokens(text)})
        self.numbers = {token: i + 1 for i, token in enumerate(self.ids)}

    def _tokens(self, text: str, template: str = family.PROMPT) -> list[int]:
        return self.tokenizer(template.format(text))["input_ids"]

    def encode(
        self, texts: list[str], template: str = family.PROMPT
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return compact ids and mask, both (B, L), L padded to a multiple of 32."""
        rows = [[self.numbers.get(t, 0) for t in self._tokens(text, template)] for text in texts]
        length = -(-max(map(len, rows)) // 32) * 32
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        return ids, torch.tensor([[i < len(row) for i in range(length)] for row in rows])


def focus(scene: Scene, size: tuple[int, int]) -> torch.Tensor:
    """Return loss weights (1, H/8, W/8): 5 around the subject, 1 elsewhere.

    Weights that do not depend on the noise do not change the optimum.
    """
    width, height = size
    reach = 0.33 * min(size)
    x = (torch.arange(width // 8) + 0.5) * 8 - PLACES[scene.place] * width
    y = (torch.arange(height // 8) + 0.5) * 8 - 0.49 * height
    near = (x.abs() < reach)[None, :] & (y.abs() < reach)[:, None]
    return 1 + 4 * near[None].float()


class Batches:
    """Random training batches: latents, compact caption ids and mask."""

    def __init__(self, args, latents: dict, vocabulary: Vocabulary, seed: int) -> None:
        self.args = args
        self.latents = latents
        self.vocabulary = vocabulary
        self.rng = random.Random(seed)
        self.scenes = training_scenes()

    def draw(self, empty: float) -> tuple[torch.Tensor, ...]:
        """Return latents, ids, mask and loss weights of one picture size.

        Args:
            empty: share of empty captions, 0..1.
        """
        size = self.rng.choices(SIZES, (3, 1, 1))[0]
        name = "x".join(map(str, size))
        pool, numbers = self.latents[f"{name}/latent"], self.latents[f"{name}/scene"]
        chosen = [self.rng.randrange(len(pool)) for _ in range(self.args.batch)]
        texts = [caption(self.scenes[int(numbers[i])], self.rng) for i in chosen]
        texts = ["" if self.rng.random() < empty else text for text in texts]
        ids, mask = self.vocabulary.encode(texts)
        if ids.shape[1] == 32 and self.rng.random() < 0.1:  # train with padding of longer prompts
            ids, mask = (torch.nn.functional.pad(x, (0, 32)) for x in (ids, mask))
        unknown = torch.rand(ids.shape) < 0.01
        ids = ids.masked_fill(unknown, 0)
        weights = torch.stack([focus(self.scenes[int(numbers[i])], size) for i in chosen])
        return tuple(x.to(self.args.device) for x in (pool[chosen].float(), ids, mask, weights))
