"""Report of torch, model folders and kernel as JSON. Runs in the host's own Python, by file."""

import contextlib
import importlib.util
import json
import os
import platform
import sys
from typing import Any


def torch_report() -> dict[str, Any]:
    """Return version, CUDA build and devices of this Python's torch; ``error`` if unusable."""
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    devices = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            devices.append({"name": properties.name, "memory_bytes": properties.total_memory})
    return {
        "version": torch.__version__,
        "cuda_build": torch.version.cuda,
        "hip_build": torch.version.hip,
        "devices": devices,
    }


def model_folders(host: str) -> dict[str, Any]:
    """Return the host's model folders, including its ``extra_model_paths.yaml``."""
    sys.path.insert(0, host)
    try:
        import folder_paths  # pyright: ignore[reportMissingImports]
        from utils.extra_config import (  # pyright: ignore[reportMissingImports]
            load_extra_path_config,
        )

        extra = os.path.join(host, "extra_model_paths.yaml")
        if os.path.isfile(extra):
            load_extra_path_config(extra)
    except Exception as error:  # noqa: BLE001 - somebody's own host: anything may be broken
        return {"error": f"{type(error).__name__}: {error}"}
    kinds = ("diffusion_models", "text_encoders", "vae")
    return {kind: list(folder_paths.folder_names_and_paths[kind][0]) for kind in kinds}


def sandbox_report() -> dict[str, Any]:
    """Return what this machine has to confine other packs; ``error`` if that is unknown."""
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "sandbox", "confinement")
    try:
        spec = importlib.util.spec_from_file_location(
            "confinement", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError(folder)
        package = importlib.util.module_from_spec(spec)
        sys.modules["confinement"] = package
        spec.loader.exec_module(package)
        return package.probe()
    except Exception as error:  # noqa: BLE001 - a machine of any kind
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the host's modules may print
        report = {
            "python": platform.python_version(),
            "torch": torch_report(),
            "folders": model_folders(sys.argv[1]),
            "sandbox": sandbox_report(),
        }
    sys.stdout.write(json.dumps(report))
