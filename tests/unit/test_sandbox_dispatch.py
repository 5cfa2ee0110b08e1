"""What a pack in a sandbox may ask of the host: closed lists, own objects, files of models."""

from __future__ import annotations

import builtins
import copy
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from zimage_comfyui.sandbox.host import allowed_functions, dispatch
from zimage_comfyui.sandbox.host.worker_objects import Callback, Handle, require_data
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.core_nodes import ALL, LOADERS, MAKERS, USERS
from zimage_comfyui.sandbox.protocol.error_info import (
    host_error_info,
    to_exception,
    worker_error_info,
)
from zimage_comfyui.sandbox.protocol.exceptions import HostError, QuotaError
from zimage_comfyui.sandbox.protocol.operations import (
    MODEL_OBJECTS,
    OPERATIONS,
    class_of,
    kind_of,
)
from zimage_comfyui.sandbox.worker.remote_objects import Fixed, HostObject, Options


def comfy(name: str, *bases: type, module: str = "comfy.model_patcher", **parts: Any) -> type:
    """A class that says it is ComfyUI's."""
    return type(name, bases, {"__module__": module, **parts})


def clone(self: Any) -> Any:
    found = type(self)()
    found.model_options = copy.deepcopy(self.model_options)
    return found


def model() -> Any:
    """A MODEL."""
    found: Any = comfy(
        "ModelPatcher", clone=clone, model_options={"transformer_options": {}}, patched=None,
        set_model_sampler_cfg_function=lambda self, f: setattr(self, "patched", f),
        get_model_object=lambda self, name: name, add_patches=lambda self, *args: args,
        detach=lambda self: 1 / 0, size=7,
    )()  # fmt: skip
    found.model_options = {"transformer_options": {}}
    return found


class Worker:
    """A process, as far as answers need one."""

    name = "pack"
    quota = 2**20

    def forget(self, number: int) -> None:
        """Nothing to do."""


@pytest.fixture
def worker() -> Any:
    """A process."""
    return Worker()


def ask(worker: Any, target: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """As a worker does."""
    return dispatch.answer(worker, target, name, [list(args), kwargs])


def test_kinds_are_told_by_comfyuis_classes() -> None:
    """An object whose class merely has the name is of no kind."""
    assert kind_of(model()) == "MODEL"
    assert kind_of(comfy("Own", comfy("ModelPatcher"), module="some_pack")()) == "MODEL"
    assert kind_of(comfy("ModelPatcher", module="some_pack")()) == "OTHER"
    upscaler = comfy("ImageModelDescriptor", module="spandrel.__helpers.model_descriptor")()
    assert kind_of(upscaler) == "UPSCALE_MODEL"
    assert kind_of(comfy("Anything", module="comfy.ldm.flux")()) == "DIFFUSION_MODEL"
    assert kind_of(print) == kind_of(object()) == kind_of(3) == "OTHER"
    assert class_of(model()) == "comfy.model_patcher.ModelPatcher"


def test_no_list_names_what_is_private() -> None:
    """Nor anything that leads to code."""
    for kind in OPERATIONS.values():
        names = kind.methods | kind.changes | kind.reads | kind.writes
        assert not any(name.startswith("_") for name in names)
    assert not any("." in name for name in MODEL_OBJECTS)


@pytest.mark.parametrize(
    "name",
    ["detach", "__class__", ".__dict__", ".patched", "=size", "()", "", ".", "=", "x" * 999],
)  # fmt: skip
def test_an_operation_off_the_list_is_refused(worker: Any, name: str) -> None:
    """Whatever the object itself can do."""
    with pytest.raises(PermissionError, match="no operation of MODEL"):
        ask(worker, model(), name, 1)


def test_reading_and_methods(worker: Any) -> None:
    """What is listed is done."""
    one = model()
    assert ask(worker, one, ".size") == 7
    assert ask(worker, one, "get_model_object", "model_sampling") == "model_sampling"
    for wanted in ("diffusion_model.blocks", "__class__", None, 3):
        with pytest.raises(PermissionError, match="not for sandboxes"):
            ask(worker, one, "get_model_object", wanted)


def test_only_what_a_pack_has_cloned_can_be_changed(worker: Any) -> None:
    """A shared MODEL stays as it is; another pack's clone, too."""
    one = model()
    with pytest.raises(PermissionError, match="clone this MODEL"):
        ask(worker, one, "set_model_sampler_cfg_function", None)
    own = ask(worker, one, "clone")
    function = Callback(worker, 1, "f")
    ask(worker, own, "set_model_sampler_cfg_function", function)
    assert own.patched is function
    assert one.patched is None
    with pytest.raises(PermissionError, match="clone this MODEL"):
        ask(Worker(), own, "set_model_sampler_cfg_function", function)


def test_options_are_set_by_path(worker: Any) -> None:
    """Inside the dictionaries of an own model, with data and functions."""
    own = ask(worker, model(), "clone")
    ask(worker, own, "set_option", ["transformer_options", "a"], {"b": [1]})
    ask(worker, own, "set_option", ["transformer_options", "a", "c"], Callback(worker, 1, "f"))
    assert own.model_options["transformer_options"]["a"]["b"] == [1]
    ask(worker, own, "drop_option", ["transformer_options", "a"])
    assert own.model_options == {"transformer_options": {}}
    for path in ([], ["x"] * 9, "transformer_options", ["none", "x"], None):
        with pytest.raises((PermissionError, KeyError, TypeError)):
            ask(worker, own, "set_option", path, 1)
    with pytest.raises(PermissionError, match="means nothing"):
        ask(worker, own, "set_option", ["a"], Handle(worker, 2, "thing"))


def test_patches_of_weights_are_data(worker: Any) -> None:
    """Tensors and numbers by key; no functions, no objects."""
    own = ask(worker, model(), "clone")
    weight = torch.zeros(2)
    found = ask(
        worker, own, "add_patches", {"a": (weight,), ("b", (0, 1, 2)): ("diff", (weight,))}, 0.5
    )
    assert found[1:] == (0.5, 1.0)
    function = Callback(worker, 1, "f")
    for patches in ({("a", None, function): (weight,)}, {"a": (function,)}, {"a": model()}, 3):
        with pytest.raises((PermissionError, TypeError)):
            ask(worker, own, "add_patches", patches)


@pytest.fixture
def samplings(monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI's classes of noise levels, as far as they are needed."""
    fake: Any = types.ModuleType("comfy.model_sampling")
    fake.CONST = comfy("CONST", module="comfy.model_sampling")
    fake.ModelSamplingFlux = comfy(
        "ModelSamplingFlux", torch.nn.Module, module="comfy.model_sampling", sigma=lambda self: 1
    )
    package = sys.modules.get("comfy") or types.ModuleType("comfy")
    monkeypatch.setitem(sys.modules, "comfy", package)
    monkeypatch.setattr(package, "model_sampling", fake, raising=False)
    monkeypatch.setitem(sys.modules, "comfy.model_sampling", fake)


class Answering(Callback):
    """A function that stays in a worker, whose calls are answered here."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What it got."""
        return args, kwargs


@pytest.mark.parametrize("names", [[], ["CONST"], ["ModelSamplingFlux"]])
def test_noise_levels_of_a_packs_own_have_their_kind(
    worker: Any, samplings: None, names: list[str]
) -> None:
    """Whether or not a class of ComfyUI's is among their bases."""
    values = {"sigmas": torch.ones(3), "sigma_min": torch.tensor(0.5), "zsnr": None}
    found = allowed_functions.FUNCTIONS["own_model_sampling"](
        names, {"sigma": Answering(worker, 1, "f")}, values
    )
    assert kind_of(found) == "MODEL_SAMPLING"
    assert ask(worker, found, "sigma", 3, x=4) == ((3,), {"x": 4})
    assert torch.equal(ask(worker, found, ".sigmas"), torch.ones(3))
    assert "sigmas" in found.state_dict()
    for name in ("register_buffer", ".training", "=sigma_min", "state_dict", "__init__"):
        with pytest.raises(PermissionError, match="no operation of MODEL_SAMPLING"):
            ask(worker, found, name)


@pytest.mark.parametrize(
    ("functions", "values"),
    [
        ({"sigma": print}, {}), ({"forward": None}, {}), ({}, {"_buffers": {}}),
        ({}, {"sigmas": object()}), ({}, {"sigmas": [torch.ones(1), {"a": object()}]}),
        ({}, {"sigmas": Handle(Worker(), 1, "thing")}),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_noise_levels_are_functions_of_a_pack_and_description_codec(
    samplings: None, functions: Any, values: Any
) -> None:
    """Under the names that noise levels have."""
    with pytest.raises((PermissionError, TypeError)):
        allowed_functions.FUNCTIONS["own_model_sampling"]([], functions, values)


def test_tensors_in_lists_and_dictionaries_are_values(worker: Any, samplings: None) -> None:
    """Of noise levels as of conditions; an object among them is not."""
    several = {"a": [torch.ones(2), (torch.zeros(1), "x")], "b": {"c": torch.ones(1)}}
    made = allowed_functions.FUNCTIONS["model_sampling"](
        ["ModelSamplingFlux"], {"extra": several, "x": [1]}
    )
    assert (made.extra, made.x) == (several, [1])
    own = allowed_functions.FUNCTIONS["own_model_sampling"](
        [], {"sigma": Answering(worker, 1, "f")}, {"sigmas": [torch.ones(1)], "shift": several}
    )
    assert own.shift == several
    assert own.sigmas == [torch.ones(1)]
    assert require_data({"pooled_output": several}) == {"pooled_output": several}
    with pytest.raises(PermissionError, match="means nothing"):
        require_data({"pooled_output": {**several, "d": [Handle(worker, 2, "thing")]}})


def test_functions_are_a_closed_list(worker: Any) -> None:
    """A name is looked up there and nowhere else."""
    for name in ("os.system", "", "run", "comfy.sd.save_checkpoint", "__builtins__"):
        with pytest.raises(PermissionError, match="there is no function"):
            ask(worker, None, name)
    for name in ("CheckpointSave", "SaveImage", "HypernetworkLoader", "x", None):
        with pytest.raises(PermissionError, match="is not run for packs"):
            allowed_functions.FUNCTIONS["node"](name, [], {})


def test_no_node_that_writes_files_is_run() -> None:
    """By their names in ComfyUI."""
    assert not [name for name in ALL if "Save" in name or "Train" in name]
    assert not USERS & MAKERS
    assert not USERS & LOADERS.keys()


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with a file, and one beside it."""
    models = tmp_path / "models"
    for name in ("a.safetensors", "b.ckpt", "c.safetensors.pt"):
        (models / "vae").mkdir(parents=True, exist_ok=True)
        (models / "vae" / name).write_bytes(b"")
    (tmp_path / "secret.safetensors").write_bytes(b"")
    (tmp_path / "models" / "vae2").mkdir()
    (tmp_path / "models" / "vae2" / "d.safetensors").write_bytes(b"")
    fake: Any = types.ModuleType("folder_paths")
    fake.folder_names_and_paths = {
        "vae": ([str(models / "vae")], {".safetensors"}),
        "custom_nodes": ([str(tmp_path / "packs")], set()),
        "own": ([str(tmp_path / "packs" / "one")], {".safetensors"}),
    }
    (tmp_path / "packs" / "one").mkdir(parents=True)
    for folder in (models / "vae", tmp_path / "packs" / "one"):
        (folder / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    for name in ("output", "user", "temp"):
        setattr(fake, f"get_{name}_directory", lambda name=name: str(tmp_path / name))
    fake.get_folder_paths = lambda kind: fake.folder_names_and_paths[kind][0]
    monkeypatch.setitem(sys.modules, "folder_paths", fake)
    return models / "vae"


def test_files_of_models_only(folders: Path) -> None:
    """Inside the folders of models, safetensors, there."""
    assert allowed_functions.model_file(str(folders / "a.safetensors")) == str(
        folders / "a.safetensors"
    )
    assert allowed_functions.model_file(str(folders / "x" / ".." / "a.safetensors"))
    assert allowed_functions.model_file(str(folders / "link.safetensors")), (
        "users link their models"
    )
    for path in (
        folders / "b.ckpt", folders / "c.safetensors.pt", folders / "none.safetensors",
        folders.parent.parent / "packs" / "one" / "link.safetensors",
        folders.parent.parent / "secret.safetensors", folders.parent / "vae2" / "d.safetensors",
        folders / ".." / ".." / "secret.safetensors", "/etc/passwd", "a.safetensors", folders,
    ):  # fmt: skip
        with pytest.raises(PermissionError):
            allowed_functions.model_file(str(path))


def test_weights_are_tensors() -> None:
    """Or a file of a model; nothing else."""
    weights = {"a": torch.zeros(1)}
    assert allowed_functions._weights(weights) == weights
    for wrong in ({"a": object()}, [1], None, "x", {"a": [model()]}):
        with pytest.raises(PermissionError):
            allowed_functions._weights(wrong)
    assert allowed_functions._loader_options({"dtype": torch.float16, "custom_operations": 1}) == {
        "dtype": torch.float16
    }


class Asking:
    """A worker that writes down what it would ask."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.released: list[tuple[int, int]] = []
        self.gives: Any = None

    def ask(self, target: Any, name: str, arguments: Any) -> Any:
        """See ``host_client.HostClient``."""
        self.asked.append((name, *arguments[0]))
        return self.gives

    def release(self, number: int, count: int) -> None:
        """See ``host_client.HostClient``."""
        self.released.append((number, count))


def handle(kind: str = "MODEL") -> tuple[HostObject, Asking]:
    """A handle and its worker."""
    worker: Any = Asking()
    return HostObject(worker, m.HostRef(5, kind)), worker


def test_a_handle_knows_what_it_can_do() -> None:
    """Without asking: other attributes are not there, and cannot be set or called."""
    one, worker = handle()
    assert not hasattr(one, "diffusion_model")
    assert not hasattr(one, "__len__")
    with pytest.raises(AttributeError):
        one.anything = 1
    with pytest.raises(TypeError):
        one()
    assert worker.asked == []
    assert "clone" in dir(one)


def test_copies_are_the_handle_and_pickles_are_refused() -> None:
    """And it is true, and equal to itself alone."""
    one, _ = handle()
    assert copy.copy(one) is one
    assert copy.deepcopy([one])[0] is one
    assert one
    assert one == one
    assert one != handle()[0]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(one)


def test_a_handle_that_ends_releases_what_it_counted() -> None:
    """So the host forgets as many references as it has sent."""
    one, worker = handle()
    one.__dict__["_zimage_count"] = 3
    del one
    assert worker.released == [(5, 3)]


def test_options_write_through() -> None:
    """Each change of ``model_options`` reaches the host; lists in it are fixed."""
    one, worker = handle()
    worker.gives = {"transformer_options": {"patches": {"a": [1]}}}
    options = one.model_options
    assert isinstance(options, Options)
    worker.asked.clear()
    options["transformer_options"]["x"] = 1
    options["transformer_options"].pop("x")
    options.update(y=2)
    assert worker.asked == [
        ("set_option", ["transformer_options", "x"], 1),
        ("drop_option", ["transformer_options", "x"]),
        ("set_option", ["y"], 2),
    ]
    inner = options["transformer_options"]["patches"]["a"]
    assert isinstance(inner, Fixed)
    with pytest.raises(TypeError):
        inner.append(2)
    assert type(options["transformer_options"].copy()) is dict
    assert type(copy.deepcopy(options)) is dict


@pytest.mark.parametrize(
    "kind",
    [
        one
        for one in vars(builtins).values()
        if isinstance(one, type) and issubclass(one, Exception)
    ],
)
def test_every_builtin_exception_crosses_with_its_message(kind: type[Exception]) -> None:
    """A worker can catch what the host raised by its type, or gets a ``HostError``."""
    error = to_exception(m.ErrorInfo("error", kind.__name__, "a message"))
    assert isinstance(error, HostError if issubclass(kind, ExceptionGroup) else kind)
    assert "a message" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        UnicodeEncodeError("ascii", "中", 0, 1, "ordinal not in range(128)"),
        KeyError("name"),
        FileNotFoundError(2, "No such file or directory", "x.safetensors"),
    ],
)
def test_a_refusal_reads_the_same_in_the_worker(error: Exception) -> None:
    """Type and text are those that the host had."""
    received = to_exception(host_error_info(error))
    assert isinstance(received, type(error))
    assert str(received) == str(error)


def test_errors_of_the_host_keep_their_type() -> None:
    """As far as Python has it; what a name says otherwise is text."""
    assert type(to_exception(m.ErrorInfo("error", "KeyError", "a"))) is KeyError
    for name in ("Strange", "print", "SystemExit", "__import__"):
        assert type(to_exception(m.ErrorInfo("error", name, "a"))) is HostError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (comfy("InterruptProcessingException", Exception)(), "interrupted"),
        (comfy("OutOfMemoryError", RuntimeError)("cuda"), "memory"),
        (QuotaError("too much"), "memory"), (MemoryError(), "memory"), (KeyError("a"), "error"),
        (ValueError("\udcff" * 99), "error"), (comfy("Strange", Exception)("x" * 9_999), "error"),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_the_same_kind_on_both_sides(error: Exception, kind: str) -> None:
    """The host tells a pack what, not where; a worker tells all. Both can be sent."""
    told, refused = worker_error_info(error), host_error_info(error)
    assert told.kind == refused.kind == kind
    assert told.type == refused.type == type(error).__name__
    assert type(error).__name__ in told.trace
    assert refused.trace == ""
    assert len(refused.message) <= 4000 * len("\\udcff")
    assert m.encode([told, refused])


def test_a_failure_without_words_is_told() -> None:
    """Of a pack's own exception whose text fails, too."""

    def fail(_self: Any) -> str:
        raise RuntimeError

    assert worker_error_info(comfy("Mute", Exception, __str__=fail)()).message == "?"
