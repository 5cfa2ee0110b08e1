"""Parts of the adapter's training: prompts, the teacher, and small CLIP and BERT encoders."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel

from zimage_comfyui.engine import adapter, conditioning, dual_files, dual_text
from zimage_comfyui.errors import ZImageError

from . import captions, family
from .world import Scene, all_scenes, is_held_out

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": dual_text.LIMIT,
}
LANGUAGES = ("zh", "en", "mixed")
Pair = tuple[str, str]


def pair(scene: Scene, language: str, rng: random.Random) -> Pair:
    """Return a prompt for the student and, for the teacher, the fixed wording of the same scene.

    With the fixed wording, each query has one target, independent of word order. The teacher was
    not trained with both languages in one prompt, so it could not encode mixed prompts.
    """
    plain = captions.plain_caption(scene)
    if language == "mixed":
        return captions.mixed_caption(scene, rng), plain
    if rng.random() < 0.25 and (text := captions.short_caption(scene, language, rng)):
        return text, plain
    return captions.full_caption(scene, language, rng), plain


def world_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Return prompts of training scenes, half of them in both languages, 5 % empty.

    Prompts in both languages are the hardest: one encoder may read both colours, while the other
    reads the words that say which object has which colour.
    """
    rng = random.Random(seed)
    scenes = [scene for scene in all_scenes() if not is_held_out(scene)]
    turns = ("zh", "mixed", "en", "mixed")
    pairs = [pair(rng.choice(scenes), turns[n % 4], rng) for n in range(count)]
    return [("", "") if rng.random() < 0.05 else pair for pair in pairs]


def read_pairs(file: Path | None, count: int) -> tuple[list[Pair], list[Pair]]:
    """Return pairs for training and up to 200 for evaluation.

    Args:
        file: one prompt per line; None for prompts of the small world.
        count: training prompts of the small world.

    Raises:
        ZImageError: ``ZI-TRAIN-PROMPTS`` for a file with fewer than four prompts.
    """
    if file is not None:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        pairs = [(line, line) for line in dict.fromkeys(lines)]
        if len(pairs) < 4:
            raise ZImageError("ZI-TRAIN-PROMPTS", path=file, found=len(pairs))
        held_out = min(200, max(2, len(pairs) // 10))  # two, for the control "shuffled"
        return pairs[held_out:], pairs[:held_out]
    rng = random.Random(1)
    scenes = [scene for scene in all_scenes() if is_held_out(scene)]
    unseen = [
        pair(rng.choice(scenes), LANGUAGES[n % 3], rng) for n in range(min(198, max(2, count)))
    ]
    return world_pairs(count), unseen


class Teacher:
    """A text encoder with a file cache of the features of each prompt."""

    def __init__(self, clip: Any, cache: Path) -> None:
        self.clip = clip
        self.cache = cache
        self.features = load_file(cache) if cache.exists() else {}

    def learn(self, prompts: list[str]) -> None:
        """Compute missing features; print progress to standard output."""
        missing = sorted(set(prompts) - self.features.keys())
        for index, prompt in enumerate(missing):
            features = conditioning.encode(self.clip, prompt)[0][0][0]
            self.features[prompt] = features.to("cpu", torch.float16).clone()
            if index % 1000 == 0:
                print(f"features {index}/{len(missing)}", flush=True)
        if missing:
            partial = self.cache.with_suffix(".partial")
            save_file(self.features, partial)
            partial.replace(self.cache)

    def read(self, prompts: list[str], device: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features [B, L, W] and mask [B, L], L padded to a multiple of 32."""
        rows = [self.features[prompt].float() for prompt in prompts]
        length = -(-max(map(len, rows)) // 32) * 32
        text = torch.zeros(len(rows), length, rows[0].shape[-1])
        mask = torch.zeros(len(rows), length, dtype=torch.bool)
        for number, row in enumerate(rows):
            text[number, : len(row)] = row
            mask[number, : len(row)] = True
        return text.to(device), mask.to(device)


class Compact(torch.nn.Module):
    """A small encoder for the tokens of the prompts; any other token has number 0."""

    def __init__(self, ids: set[int], rows: int) -> None:
        super().__init__()
        self.ids = sorted(ids)
        numbers = torch.zeros(rows, dtype=torch.long)
        numbers[self.ids] = torch.arange(1, len(self.ids) + 1)
        self.register_buffer("numbers", numbers, persistent=False)

    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return last hidden states [B, T, 128]; in training, 1 % of the tokens become unknown."""
        known = self.numbers[ids]
        if self.training:
            known = known.masked_fill(torch.rand(known.shape, device=known.device) < 0.01, 0)
        return self.encoder(input_ids=known, attention_mask=mask.long()).last_hidden_state

    def published(self) -> dict[str, torch.Tensor]:
        """Return the weights with the names of published files, and the compact vocabulary."""
        state = {self.prefix + name: value for name, value in self.encoder.state_dict().items()}
        return state | {f"{self.embedding}.ids": torch.tensor(self.ids)}


class SmallClip(Compact):
    """A small CLIP text model."""

    prefix, embedding = "text_model.", "text_model.embeddings.token_embedding"

    def __init__(self, ids: set[int], rows: int = 49408) -> None:
        super().__init__(ids, rows)
        config = CLIPTextConfig(
            vocab_size=len(self.ids) + 1,
            hidden_act="quick_gelu",
            bos_token_id=0,
            eos_token_id=2,
            **SMALL,
        )
        self.encoder = CLIPTextModel(config)


class SmallBert(Compact):
    """A small BERT."""

    prefix, embedding = "bert.", "bert.embeddings.word_embeddings"

    def __init__(self, ids: set[int], rows: int = 47020) -> None:
        super().__init__(ids, rows)
        config = BertConfig(
            vocab_size=len(self.ids) + 1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **SMALL,
        )
        self.encoder = BertModel(config, add_pooling_layer=False)


class Frozen(torch.nn.Module):
    """An encoder of the host with frozen weights."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.width = dual_files.first_query(encoder).shape[1]

    @torch.no_grad()
    def states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return last hidden states [B, T, width]."""
        length = ids.shape[1]
        missing = dual_text.LIMIT - length  # the host's CLIP requires 77 tokens
        ids, mask = (torch.nn.functional.pad(part, (0, missing)) for part in (ids, mask))
        return self.encoder(ids, attention_mask=mask.long(), dtype=torch.float32)[0][:, :length]


class Student(torch.nn.Module):
    """Both encoders and the adapter: prompts to caption features [B, queries, W]."""

    def __init__(
        self, clip: Any, bert: Any, config: adapter.AdapterConfig, tokenizers: Any
    ) -> None:
        super().__init__()
        self.clip = clip
        self.bert = bert
        self.tokenizers = tokenizers
        self.adapter = adapter.Adapter(config).initialise()

    def learning(self) -> dict[str, torch.nn.Module]:
        """Return the parts that are trained, by name."""
        parts = {"adapter": self.adapter, "clip": self.clip, "bert": self.bert}
        return {name: part for name, part in parts.items() if not isinstance(part, Frozen)}

    def encoded(self, prompts: list[str]) -> tuple[adapter.Encoded, adapter.Encoded]:
        """Return the output of each encoder for the prompts."""
        device = self.adapter.queries.device
        readings = [dual_text.read(prompt, *self.tokenizers) for prompt in prompts]
        parts = []
        for name, pad in (("clip", 49407), ("bert", 0)):
            rows = [getattr(reading, name) for reading in readings]
            ids, mask, places = (t.to(device) for t in dual_text.arrange(rows, pad))
            used = int(mask.sum(1).max())  # padding is not computed
            states = getattr(self, name).states(ids[:, :used], mask[:, :used])
            states = torch.nn.functional.pad(states, (0, 0, 0, dual_text.LIMIT - used))
            parts.append(adapter.Encoded(states, mask, places))
        return parts[0], parts[1]

    def forward(self, prompts: list[str]) -> torch.Tensor:
        """Return caption features [B, queries, W] of prompts."""
        return self.adapter(*self.encoded(prompts))


def build(args: Any, pairs: list[Pair], model: Any) -> Student:
    """Build a student from the files of ``--clip`` and ``--bert``, or with small encoders."""
    width = model.cap_embedder[1].weight.shape[1]
    if args.clip:
        clip = Frozen(dual_files.load_clip(args.clip, torch.float32, args.device))
        bert = Frozen(dual_files.load_bert(args.bert, torch.float32, args.device))
        words = len(bert.encoder.embeddings.word_embeddings.weight)
        tokenizers = dual_files.tokenizers(args.bert, words)
        config = adapter.AdapterConfig(
            clip.width, bert.width, width, 1024, 16, args.layers or 6, 128
        )
    else:
        tokenizers = dual_files.tokenizers(None)
        readings = [dual_text.read(text, *tokenizers) for text in {pair[0] for pair in pairs}]
        clip = SmallClip({number for reading in readings for number in reading.clip.ids})
        bert = SmallBert({number for reading in readings for number in reading.bert.ids})
        config = adapter.AdapterConfig(128, 128, width, 128, 4, args.layers or 3, 32)
    return Student(clip, bert, config, tokenizers)


def export(folder: Path, student: Student, models: list[Any], trained: dict[str, Any]) -> None:
    """Write the adapter, and the small encoders if they were trained.

    Args:
        folder: folder of models.
        student: the trained student.
        models: diffusion models that the adapter was trained with.
        trained: figures for the metadata.
    """
    state = dict(student.adapter.state_dict())
    fingerprints = [adapter.probe(model.cap_embedder[1].weight) for model in models]
    state["probe.caption"] = torch.stack(fingerprints)
    for name, part in (("clip", student.clip), ("bert", student.bert)):
        state[f"probe.{name}"] = adapter.probe(dual_files.first_query(part.encoder))
        if isinstance(part, Compact):
            file = folder / "text_encoders" / f"zimage-small-{name}.safetensors"
            family.export(part.published(), file, name, SMALL)
    small = isinstance(student.clip, Compact)
    file = folder / "zimage_adapters" / f"zimage-{'small-' if small else ''}adapter.safetensors"
    family.export(state, file, "adapter", student.adapter.config.describe(), trained=trained)
