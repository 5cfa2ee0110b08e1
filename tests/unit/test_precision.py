"""Memory follows the precision that the host itself chooses for a file, a widget and a device."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

from zimage_comfyui.engine.safetensors_file import Header, read_header
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import ram
from zimage_comfyui.patches.memory import admission, precision
from zimage_comfyui.patches.memory.sampling_jobs import FILES
from zimage_comfyui.tests.fakes import graphs
from zimage_comfyui.tests.fakes.sparse import write

pytestmark = pytest.mark.filterwarnings("ignore")
GIB = 2**30
NORM = "model.norm.weight"
FULL_SIZE = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "n_kv_heads": 30,
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "cap_feat_dim": 2560,
    "qk_norm": True,
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 8 / 3,
    "multiple_of": 256,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}


@pytest.fixture(scope="module")
def management(comfy_modules) -> Any:
    """The host's own functions, on a CPU."""
    import comfy.model_management
    import comfy.supported_models

    return comfy.model_management


@pytest.fixture
def device(management, monkeypatch, request) -> None:
    """What the host's choice depends on: the device's abilities and its memory in GiB."""
    bf16, fp8, memory = request.param
    if bf16:
        monkeypatch.setattr(management, "should_use_bf16", lambda *_, **__: True)
        monkeypatch.setattr(management, "should_use_fp16", lambda *_, **__: True)
    monkeypatch.setattr(management, "supports_fp8_compute", lambda *_: fp8)
    monkeypatch.setattr(management, "get_total_memory", lambda *_: memory * GIB)


CPU, SMALL_CPU = (False, False, 24), (False, False, 1)
AMPERE, HOPPER = (True, False, 24), (True, True, 80)
LARGE = [20_000, 50_000]
"""A weight that does not fit into the small CPU in two bytes per parameter."""
MODEL_TABLE = [
    # device, type in the file, dtype of the loader, bytes of a weight, bytes of a computed value
    (CPU, "BF16", "auto", 4, 4),
    (CPU, "F16", "auto", 4, 4),
    (CPU, "F32", "auto", 4, 4),
    (CPU, "F8_E4M3", "auto", 4, 4),
    (CPU, "F8_E5M2", "auto", 4, 4),
    (SMALL_CPU, "F8_E4M3", "auto", 1, 4),
    (SMALL_CPU, "BF16", "auto", 4, 4),
    (CPU, "BF16", "bf16", 2, 4),
    (CPU, "F8_E4M3", "bf16", 2, 4),
    (CPU, "F32", "bf16", 2, 4),
    (CPU, "BF16", "fp32", 4, 4),
    (CPU, "F8_E4M3", "fp32", 4, 4),
    (CPU, "BF16", "fp8_e4m3fn", 1, 4),
    (CPU, "F8_E4M3", "fp8_e4m3fn", 1, 4),
    (AMPERE, "BF16", "auto", 2, 2),
    (AMPERE, "F32", "auto", 2, 2),
    (AMPERE, "F16", "auto", 2, 2),
    (AMPERE, "F8_E4M3", "auto", 2, 2),
    (HOPPER, "F8_E4M3", "auto", 1, 2),
    (AMPERE, "BF16", "fp32", 4, 4),
    (AMPERE, "BF16", "fp8_e4m3fn", 1, 2),
    (HOPPER, "F8_E4M3", "bf16", 2, 2),
]


@pytest.mark.parametrize(
    ("device", "stored", "widget", "kept", "computed"), MODEL_TABLE, indirect=["device"]
)
def test_bytes_of_a_diffusion_model(
    device, tmp_path, stored: str, widget: str, kept: int, computed: int
) -> None:
    """On a CPU ``auto`` is fp32, also for fp8 unless two bytes per parameter do not fit."""
    header = read(tmp_path, {"a.weight": (stored, LARGE), "norm": ("F32", [8])})
    assert precision.HostPrecision().diffusion(header, widget) == (kept, computed)


@pytest.mark.parametrize(
    ("stored", "norm", "size"),
    [
        ("F8_E4M3", "BF16", 2),
        ("F8_E4M3", "F8_E4M3", 1),
        ("BF16", "BF16", 2),
        ("BF16", "F32", 4),
        ("F8_E4M3", None, 2),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_text_encoder_has_the_type_of_its_norm(
    management, tmp_path, stored: str, norm: str | None, size: int, bare: bool
) -> None:
    """All weights become what the last norm is; without one, the host's fp16."""
    tensors = {"model.layers.0.mlp.up_proj.weight": (stored, [64, 64])}
    if norm:
        tensors[NORM.removeprefix("model.") if bare else NORM] = (norm, [64])
    header = read(tmp_path, tensors)
    assert precision.HostPrecision().text_encoder(header) == size


@pytest.mark.parametrize("device", [CPU], indirect=True)
@pytest.mark.parametrize(
    ("mark", "metadata"),
    [
        ("scaled_fp8", {}),
        ("a.comfy_quant", {}),
        ("a.scale_weight", {}),
        ("a.weight_scale", {}),
        ("b", {"_quantization_metadata": "{}"}),
    ],
)
def test_quantised_layers_stay_as_they_are_stored(
    device, tmp_path, mark: str, metadata: dict[str, str]
) -> None:
    """A layer of 8 bits keeps them where the file says so; the others become fp32 on a CPU."""
    tensors = {"a.weight": ("F8_E4M3", [64, 64]), "norm": ("BF16", [64]), mark: ("U8", [2])}
    header = read(tmp_path, tensors, metadata)
    kept, _ = precision.HostPrecision().diffusion(header, "auto")
    assert precision.weight_bytes(header, kept) == 64 * 64 + 64 * 4 + 2


def test_an_output_head_is_not_counted(tmp_path) -> None:
    """Our loader leaves it out."""
    tensors = {NORM: ("BF16", [64]), "lm_head.weight": ("BF16", [64, 64])}
    assert precision.weight_bytes(read(tmp_path, tensors), 2) == 128


def read(folder: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> Header:
    """The header of a file of these tensors."""
    return read_header(write(folder / "file.safetensors", tensors, metadata))


@pytest.fixture
def full_size(management, tmp_path, monkeypatch) -> dict[str, str]:
    """Headers of full size, paths by name, on a machine of 24 GiB."""
    from zimage_comfyui.engine import architecture, host

    model = host.diffusion_shapes(FULL_SIZE)
    text = host.text_encoder_shapes(architecture.FULL[architecture.TEXT_ENCODER])
    vae = {"a": ("F32", [83_800_000])}
    paths = {"vae.safetensors": write(tmp_path / "vae", vae)}
    for stored in ("BF16", "F8_E4M3"):
        paths[f"turbo-{stored}"] = write(
            tmp_path / f"model-{stored}", {name: (stored, shape) for name, shape in model.items()}
        )
        types = {name: "BF16" if "norm" in name else stored for name in text}
        paths[f"text-{stored}"] = write(
            tmp_path / f"text-{stored}", {name: (types[name], text[name]) for name in text}
        )
    finder = SimpleNamespace(get_full_path=lambda _kind, name: paths.get(name))
    monkeypatch.setitem(sys.modules, "folder_paths", finder)
    monkeypatch.setattr(management, "get_total_memory", lambda *_: 24 * GIB)
    monkeypatch.setattr(ram, "whole", lambda: 24 * GIB)
    return paths


def graph(model: str, text: str, dtype: str) -> Any:
    """A picture of 256x256 with files of the full size."""
    files = zip(FILES, (f"turbo-{model}", f"text-{text}", "vae.safetensors"), strict=True)
    changes = {f"load__{name}": file for name, file in files}
    side = {"size__size": "custom", "size__width": 256, "size__height": 256}
    return graphs.render(**changes, **side, load__dtype=dtype)


@pytest.mark.parametrize("model", ["BF16", "F8_E4M3"])
@pytest.mark.parametrize("text", ["BF16", "F8_E4M3"])
@pytest.mark.parametrize("dtype", ["auto", "fp32"])
def test_full_size_in_fp32_is_refused_on_24_gib(full_size, model, text, dtype) -> None:
    """At the node of the size and from the headers alone; nothing is loaded."""
    with pytest.raises(ZImageError) as caught:
        admission.Admission().make_room(None, graph(model, text, dtype))
    assert caught.value.code == "ZI-MEMORY"
    assert caught.value.found["node"] == "size"
    assert float(caught.value.found["found"]) == pytest.approx(30.8, abs=0.3)


@pytest.mark.parametrize(
    ("model", "text", "dtype", "measured"),
    [("BF16", "BF16", "bf16", 20.5), ("F8_E4M3", "F8_E4M3", "fp8_e4m3fn", 17.8)],
)
def test_full_size_that_ran_on_24_gib_is_accepted(
    full_size, monkeypatch, model: str, text: str, dtype: str, measured: float
) -> None:
    """The estimate is below the measured peak, which has libraries and mapped files in it."""
    needed: list[int] = []
    check = admission.check

    def spy(job: Any, need: Any, place: Any) -> None:
        needed.append(admission.ram_of(need, on_cpu=True))
        check(job, need, place)

    monkeypatch.setattr(admission, "check", spy)
    admission.Admission().make_room(None, graph(model, text, dtype))
    assert measured - 5 < needed[0] / GIB < measured
