"""The trainers from the command line: small runs, killed and started again, and what they write;
the edits that the benchmark of Edit draws.

Two runs go on beside each other, because most of their time is the start of a process.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from zimage_comfyui.errors import ZImageError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WAYS = ("adapter", "zero", "identity", "shuffled")
MANY = "100000"  # steps: nobody waits for them


class Trainer:
    """One of the scripts, with its folders."""

    def __init__(self, script: Path, host: Path, folder: Path) -> None:
        self.work, self.out, self.errors = folder / "work", folder / "out", folder / "errors"
        self.command = [sys.executable, str(script), "--comfyui", str(host), "--work",
                        str(self.work), "--out", str(self.out), "--device", "cpu"]  # fmt: skip
        self.env = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        folder.mkdir()

    def run(self, *arguments: str, status: int = 0) -> str:
        """What it says until its end: results, or errors for a status that is not 0."""
        done = subprocess.run([*self.command, *arguments], env=self.env,
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == status, done.stderr[-3000:]
        return done.stderr if status else done.stdout

    def interrupt(self, sign: int, stage: str, *arguments: str) -> int:
        """Stop it after two steps of a stage; the step that its state on disk has reached."""
        state = self.work / f"{stage}.safetensors"
        with self.errors.open("w") as errors:
            running = subprocess.Popen([*self.command, "--save-seconds", "0", *arguments],
                                       env=self.env, stdout=errors, stderr=errors)  # fmt: skip
        try:
            while step_of(state) < 2:
                assert running.poll() is None, self.errors.read_text()[-3000:]
                time.sleep(0.02)
        finally:
            running.send_signal(sign)
            assert running.wait() == -sign
        return step_of(state)


def step_of(state: Path) -> int:
    """How far a stage has come; 0 before there is a state."""
    return int(metadata(state)["step"]) if state.exists() else 0


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def files(host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP-L and a Chinese BERT of one layer, wide as people's, with a vocabulary; prompts."""
    from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel

    folder = tmp_path_factory.mktemp("files")
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 1,
             "num_attention_heads": 12}  # fmt: skip
    torch.manual_seed(4)
    clip = CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_act="quick_gelu", **sizes))
    bert = BertModel(BertConfig(vocab_size=21128, **sizes), add_pooling_layer=False)
    save_file(clip.state_dict(), folder / "clip_l.safetensors")
    (folder / "bert").mkdir()
    state = {f"bert.{name}": tensor for name, tensor in bert.state_dict().items()}
    save_file(state, folder / "bert" / "model.safetensors")
    given = host.path / "comfy" / "text_encoders" / "hydit_clip_tokenizer" / "vocab.txt"
    words = given.read_text(encoding="utf-8").split("\n")[:21128]
    (folder / "bert" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    prompts = [f"ARMY绿外套，{colour}色背景 product poster" for colour in "红橙黄绿青蓝紫"]
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future]]:
    """Every trainer's runs, by name; the result is what the functions below return."""
    folder = tmp_path_factory.mktemp("runs")

    def trainer(script: str, name: str) -> Trainer:
        return Trainer(pack_dir / "demo" / f"{script}.py", host.path, folder / name)

    with ThreadPoolExecutor(2) as pool:
        found = {
            "edit": pool.submit(small_edit, trainer("train_edit", "edit")),
            "adapter": pool.submit(small_adapter, trainer("train_adapter", "adapter")),
        }
        files = request.getfixturevalue("files")  # made while those run
        found["big"] = pool.submit(big_adapter, trainer("train_adapter", "big"), files)
        found["family"] = pool.submit(small_family, trainer("train", "family"))
        found["usage"] = pool.submit(usage, trainer("train_adapter", "usage"))
        yield found


def usage(trainer: Trainer) -> tuple[Trainer, list[str]]:
    """One encoder without the other."""
    return trainer, [trainer.run(one, "file", status=2) for one in ("--clip", "--bert")]


def small_family(trainer: Trainer) -> tuple[Trainer, str]:
    """One step of each stage."""
    steps = ("--decoder-steps", "1", "--base-steps", "1", "--turbo-steps", "1")
    return trainer, trainer.run("--scenes", "4", "--copies", "1", "--batch", "2", *steps)


def small_edit(trainer: Trainer) -> tuple[Trainer, int, str]:
    """Killed, then two steps more; a family more, too."""
    small = ("--batch", "2", "--families")
    step = trainer.interrupt(signal.SIGKILL, "edit", *small, "1", "--steps", MANY)
    return trainer, step, trainer.run(*small, "2", "--steps", str(step + 2))


def small_adapter(trainer: Trainer) -> tuple[Trainer, int, str]:
    """With small encoders; stopped in stage 2, then a step more, and the third stage."""
    small = ("--pairs", "12", "--batch", "1", "--latent", "4", "--feature-steps", "1",
             "--hard-pairs", "24", "--hard-steps", "2")  # fmt: skip
    step = trainer.interrupt(signal.SIGTERM, "denoiser", *small, "--denoiser-steps", MANY)
    return trainer, step, trainer.run(*small, "--denoiser-steps", str(step + 1))


def big_adapter(trainer: Trainer, files: Path) -> tuple[Trainer, str]:
    """With the encoders of ``files``."""
    encoders = ("--clip", str(files / "clip_l.safetensors"),
                "--bert", str(files / "bert" / "model.safetensors"))  # fmt: skip
    small = ("--layers", "1", "--batch", "2", "--latent", "4", "--feature-steps", "3",
             "--hard-steps", "0")  # fmt: skip
    prompts = ("--prompts", str(files / "prompts.txt"))
    return trainer, trainer.run(*encoders, *prompts, *small, "--denoiser-steps", "2")


@pytest.fixture(scope="module")
def turbo(comfy_modules, pack_dir: Path):
    """The small Turbo that comes with the pack, which the adapters are trained for."""
    from zimage_comfyui.engine import checkpoints

    folder = pack_dir / "demo" / "models" / "diffusion_models"
    return checkpoints.load_model(folder / "zimage-small-turbo.safetensors")


def check_report(trainer: Trainer, said: str, file: Path, steps: int) -> None:
    """What was said, the report and the adapter's metadata agree; the numbers are sensible."""
    report = json.loads((trainer.work / "report.json").read_text())
    assert tuple(report) == WAYS
    for name, found in report.items():
        features, velocity = found["features"], found["velocity"]
        assert math.isfinite(features)
        assert math.isfinite(velocity)
        assert f"{name:9} features {features:7.4f}  velocity {velocity:.5f}" in said
    # Who says nothing is wrong by 1 (relative square) + 1 (cosine) everywhere.
    assert report["zero"]["features"] == pytest.approx(2, abs=1e-3)
    assert report["adapter"]["features"] < 2
    assert json.loads(metadata(file)["zimage"])["trained"] == {"steps": steps, **report}


def check_features(clip, count: int) -> None:
    """The loaded encoders read every language, and the words that upper case makes long."""
    from zimage_comfyui.engine import conditioning

    ways = [conditioning.encode(clip, text)[0][0] for text in ("ARMY绿外套", "a red ball", "")]
    for features in ways:
        assert features.shape == (1, count, 128)
        assert features.isfinite().all()
    assert not torch.allclose(ways[0], ways[1])


@pytest.mark.parametrize("number", [0, 1], ids=["clip", "bert"])
def test_one_encoder_is_not_enough(runs: dict[str, Future], number: int) -> None:
    """A usage error in both languages, before anything is made."""
    trainer, said = runs["usage"].result()
    lines = said[number].splitlines()
    assert len(lines) == 2
    assert all("ZI-TRAIN-ENCODERS" in line for line in lines)
    assert "必须同时指定" in lines[0]
    assert "Give both" in lines[1]
    assert not trainer.work.exists()
    assert not trainer.out.exists()


def test_family(runs: dict[str, Future], comfy_modules) -> None:
    """One step of every stage is enough for four files that load."""
    from zimage_comfyui.engine import checkpoints

    trainer, said = runs["family"].result()
    for stage in ("decoder", "base", "turbo"):
        assert f"{stage} 1/1 loss " in said
    out = trainer.out
    assert checkpoints.load_vae(out / "vae/zimage-small-ae.safetensors")
    assert checkpoints.load_text_encoder(out / "text_encoders/zimage-small-qwen3.safetensors")
    for variant in ("base", "turbo"):
        file = out / f"diffusion_models/zimage-small-{variant}.safetensors"
        assert checkpoints.variant_of(checkpoints.load_model(file)) == variant


def test_edit(runs: dict[str, Future], comfy_modules) -> None:
    """Training goes on from the state that the kill has left; the file loads as an Edit model."""
    from zimage_comfyui.engine import checkpoints

    trainer, step, said = runs["edit"].result()
    assert f"edit {step}/{step + 2} <- " in said
    assert f"edit {step + 2}/{step + 2} loss " in said
    assert step_of(trainer.work / "edit.safetensors") == step + 2
    file = trainer.out / "diffusion_models" / "zimage-small-edit.safetensors"
    assert checkpoints.variant_of(checkpoints.load_model(file)) == "edit"


def test_small_adapter(runs: dict[str, Future], turbo) -> None:
    """Stage 1 is not done again, stage 2 goes on, stage 3 takes an eighth of its prompts; encoders
    and adapter belong together."""
    from zimage_comfyui.engine import dual

    trainer, step, said = runs["adapter"].result()
    assert "features 1/1 <- " in said
    assert "features 1/1 loss" not in said
    assert f"denoiser {step}/{step + 1} <- " in said
    assert f"denoiser {step + 1}/{step + 1} loss " in said
    encoders = [trainer.out / "text_encoders" / f"zimage-small-{name}.safetensors"
                for name in ("clip", "bert")]  # fmt: skip
    file = trainer.out / "zimage_adapters" / "zimage-small-adapter.safetensors"
    check_report(trainer, said, file, step + 4)
    assert "hard 24/24 evaluated" in said
    assert "hard 2/2 loss " in said
    assert len(json.loads((trainer.work / "hard.json").read_text(encoding="utf-8"))) == 3
    check_features(dual.load(*encoders, file, turbo), 32)


def test_adapter_for_other_encoders(
    runs: dict[str, Future], files: Path, turbo, tmp_path: Path
) -> None:
    """A usual Chinese BERT beside its ``vocab.txt``; only with this one the adapter is taken."""
    from zimage_comfyui.engine import dual
    from zimage_comfyui.engine.weights import open_weights

    trainer, said = runs["big"].result()
    assert "features 3/3 loss " in said
    assert "denoiser 2/2 loss " in said
    file = trainer.out / "zimage_adapters" / "zimage-adapter.safetensors"
    check_report(trainer, said, file, 5)
    assert [path for path in trainer.out.rglob("*") if path.is_file()] == [file]
    clip, bert = files / "clip_l.safetensors", files / "bert" / "model.safetensors"
    check_features(dual.load(clip, bert, file, turbo), 128)

    state = open_weights(bert).load()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    other = tmp_path / "model.safetensors"
    save_file({**state, query: torch.randn_like(state[query])}, other)
    (tmp_path / "vocab.txt").symlink_to(files / "bert" / "vocab.txt")
    with pytest.raises(ZImageError, match=r"ZI-DUAL-OTHER.*bert"):
        dual.load(clip, other, file, turbo)


def test_prompts_of_a_file_are_too_few(comfy_modules, tmp_path: Path) -> None:
    """Said before anything is trained; four are enough for two controls."""
    from zimage_comfyui.demo import students

    file = tmp_path / "prompts.txt"
    file.write_text("一\n二\n\n二\n三\n", encoding="utf-8")
    with pytest.raises(ZImageError, match="ZI-TRAIN-PROMPTS"):
        students.read_pairs(file, 0)
    file.write_text("一\n二\n三\n四\n", encoding="utf-8")
    assert students.read_pairs(file, 0) == (
        [("三", "三"), ("四", "四")],
        [("一", "一"), ("二", "二")],
    )


def test_benchmark_draws_edits_for_each_language(
    pack_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same ones every time, but not the same ones in both languages."""
    monkeypatch.syspath_prepend(str(pack_dir / "benchmarks"))
    import edit

    chinese, english = (edit.unseen(40, language, 3) for language in edit.LANGUAGES)
    assert chinese == edit.unseen(40, "zh", 3)
    assert len({*chinese} & {*english}) < 20
    assert len({one.field for one in chinese}) == 3
