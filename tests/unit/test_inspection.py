"""Headers are judged as a whole; the host's classes are replaced by the shapes of a good file."""

from __future__ import annotations

import importlib.util
import json
import sys
from math import prod
from pathlib import Path
from types import ModuleType

import pytest
import torch

import zimage_comfyui.engine
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.tests.fakes.shapes import TEXT

PACK = "zimage_comfyui.engine"
ITEM = {"BF16": 2, "I16": 2, "U16": 2, "F8_E4M3": 1, "U8": 1, "F32": 4, "I64": 8}


def model(dim: int) -> dict[str, tuple[int, ...]]:
    return {
        "cap_embedder.1.weight": (dim, 128),
        "x_embedder.weight": (dim, 64),
        "noise_refiner.0.x": (1,),
        "noise_refiner.1.x": (1,),
        "layers.0.adaLN_modulation.0.weight": (4 * dim, min(dim, 256)),
        "layers.0.attention.q_norm.weight": (128,),
        "layers.0.attention.qkv.weight": (3 * dim, dim),
        "layers.0.attention.out.weight": (dim, dim),
        "layers.0.feed_forward.w1.weight": (dim * 8 // 3, dim),
    }


OUT = "layers.0.attention.out"


def sparse(path: Path, shapes, types=None, metadata: dict | None = None) -> Path:
    """A file with a true header that takes no disk space."""
    header, end = {"__metadata__": metadata or {}}, 0
    for name, shape in shapes.items():
        dtype = (types or {}).get(name, "BF16")
        start, end = end, end + prod(shape) * ITEM[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + end)
    return path


@pytest.fixture
def inspection(monkeypatch) -> ModuleType:
    """The module on a stand-in for the host of 0.3.75."""
    host = ModuleType(f"{PACK}.host")
    host.Shapes, host.VOCABULARY = dict, 151936
    host.formats = {"float8_e4m3fn": {"storage_t": torch.float8_e4m3fn}}
    host.reads_notes = False
    host.quantisation_formats = lambda: host.formats
    host.reads_quantisation_notes = lambda: host.reads_notes
    host.diffusion_shapes = lambda config: model(config["dim"])
    host.text_encoder_shapes = lambda config: {
        **TEXT, "model.embed_tokens.weight": (config.get("vocab_size", 151936), 2560),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, host.__name__, host)
    monkeypatch.setattr(zimage_comfyui.engine, "host", host, raising=False)
    place = Path(zimage_comfyui.engine.__file__).with_name("inspection.py")
    spec = importlib.util.spec_from_file_location(f"{PACK}.inspection_on_a_stand_in", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_good_files(inspection, tmp_path: Path) -> None:
    """Only the published size is full."""
    assert inspection.diffusion(sparse(tmp_path / "a", model(3840))).full
    assert not inspection.diffusion(sparse(tmp_path / "b", model(384))).full
    three = {**model(3840), "noise_refiner.2.x": (1,)}
    assert not inspection.diffusion(sparse(tmp_path / "c", three)).full
    assert inspection.text_encoder(sparse(tmp_path / "d", TEXT)).full


def test_models_with_references(inspection, tmp_path: Path) -> None:
    """Known by SigLIP2 weights or by what the file declares; the host loads what it knows."""
    inspection.host.reads_siglip = lambda: native
    omni = {**model(3840), "siglip_embedder.1.weight": (3840, 1152)}
    declared = {"zimage": json.dumps({"variant": "edit"})}
    for native in (False, True):
        plan = inspection.diffusion(sparse(tmp_path / "a", omni))
        assert (plan.references, plan.full) == (True, native)
        plan = inspection.diffusion(sparse(tmp_path / "b", model(3840), metadata=declared))
        assert (plan.references, plan.full) == (True, False)
    assert not inspection.diffusion(sparse(tmp_path / "c", model(3840))).references


def test_vocabularies(inspection, tmp_path: Path) -> None:
    """A longer one is described to the host, one without the template's tokens refused."""
    longer = {**TEXT, "model.embed_tokens.weight": (152064, 2560)}
    plan = inspection.text_encoder(sparse(tmp_path / "a", longer))
    assert (plan.full, plan.config["vocab_size"]) == (False, 152064)
    shorter = {**TEXT, "model.embed_tokens.weight": (151645, 2560)}
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*151645 token"):
        inspection.text_encoder(sparse(tmp_path / "b", shorter))
    compact = {**TEXT, "model.embed_tokens.weight": (8, 2560), "model.embed_tokens.ids": (7,)}
    types = {"model.embed_tokens.ids": "I64"}
    assert inspection.text_encoder(sparse(tmp_path / "d", compact, types)).full


@pytest.mark.parametrize("dtype", ["I16", "U16"])
def test_bfloat16_called_an_integer(inspection, tmp_path: Path, dtype: str) -> None:
    """Same bytes, same shape, another type: the picture would be noise."""
    path = sparse(tmp_path / "m", model(384), {f"{OUT}.weight": dtype})
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*out\.weight: u?int16"):
        inspection.diffusion(path)


@pytest.mark.parametrize("noted", [False, True])
def test_nvfp4(inspection, tmp_path: Path, noted: bool) -> None:
    """Refused by a host without it, taken by a newer one at full size only."""
    metadata = {"_quantization_metadata": json.dumps({"layers": {OUT: {"format": "nvfp4"}}})}
    types = {f"{OUT}.weight": "U8", f"{OUT}.weight_scale": "F8_E4M3"}
    host = inspection.host
    for dim in (3840, 384):
        packed = {f"{OUT}.weight": (dim, dim // 2), f"{OUT}.weight_scale": (dim, dim // 16)}
        path = sparse(tmp_path / f"{dim}", {**model(dim), **packed}, types, metadata)
        if noted:
            path = with_note(path, packed, types, dim)
        host.formats.pop("nvfp4", None)
        with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*out\.weight: uint8"):
            inspection.diffusion(path)
        host.formats["nvfp4"] = {"storage_t": torch.uint8}
        host.reads_notes = True
        if dim == 3840:
            assert inspection.diffusion(path).full
        else:
            with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*out\.weight: uint8"):
                inspection.diffusion(path)


def with_note(path: Path, packed, types, dim: int) -> Path:
    """The format in a tensor beside the weight, the last of the file, instead of the metadata."""
    note = b'{"format": "nvfp4"}'
    name = f"{OUT}.comfy_quant"
    types = {**types, name: "U8"}
    path = sparse(path.with_name("noted"), {**model(dim), **packed, name: (len(note),)}, types)
    with path.open("r+b") as file:
        file.seek(-len(note), 2)
        file.write(note)
    return path


def test_scaled_fp8_of_another_size(inspection, tmp_path: Path) -> None:
    """The explicit build would leave the scales out."""
    scaled = {**model(384), f"{OUT}.scale_weight": (), "scaled_fp8": (2,)}
    types = {f"{OUT}.weight": "F8_E4M3", f"{OUT}.scale_weight": "F32", "scaled_fp8": "F8_E4M3"}
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*out\.weight: float8_e4m3fn"):
        inspection.diffusion(sparse(tmp_path / "a", scaled, types))


@pytest.mark.parametrize("value", ["Infinity", "NaN", "1" + "0" * 400, "1e300", "0"])
def test_declared_numbers_are_finite(inspection, tmp_path: Path, value: str) -> None:
    """JSON of Python has infinity, and whole numbers of any length."""
    metadata = {"zimage": f'{{"config": {{"rope_theta": {value}}}}}'}
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*rope_theta"):
        inspection.diffusion(sparse(tmp_path / "m", model(384), metadata=metadata))


def test_missing_tensors_leave_the_languages_apart(inspection, tmp_path: Path) -> None:
    """The separator of the two languages occurs once."""
    less = {name: shape for name, shape in model(384).items() if name != f"{OUT}.weight"}
    with pytest.raises(ZImageError, match="8 of 9 tensors") as caught:
        inspection.diffusion(sparse(tmp_path / "m", less))
    assert str(caught.value).count(" / ") == 1


def test_what_the_host_raises_is_coded(inspection, tmp_path: Path, monkeypatch) -> None:
    """Shapes that its classes cannot be built for."""

    def refuse(config: dict) -> None:
        raise RuntimeError("numel overflow")

    monkeypatch.setattr(inspection.host, "diffusion_shapes", refuse)
    with pytest.raises(ZImageError, match=r"ZI-MODEL-KEYS.*numel overflow"):
        inspection.diffusion(sparse(tmp_path / "m", model(384)))
