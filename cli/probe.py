"""Run by file in the host's own Python: prints what its torch and its folder list say, as JSON."""

import contextlib
import json
import os
import platform
import sys
from typing import Any


def torch_report() -> dict[str, Any]:
    """Version, CUDA build and devices of this Python's torch; ``error`` when it cannot be used."""
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
    """Where this host looks for models, its ``extra_model_paths.yaml`` included."""
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


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the host's modules may print
        report = {
            "python": platform.python_version(),
            "torch": torch_report(),
            "folders": model_folders(sys.argv[1]),
        }
    sys.stdout.write(json.dumps(report))
