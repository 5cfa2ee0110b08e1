"""Entry point in the private environment, started as ``python -I cli/main.py``."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent


def load_pack() -> None:
    """Load the pack by path as ``zimage_comfyui``, whatever the name of its folder."""
    spec = importlib.util.spec_from_file_location(
        "zimage_comfyui", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{ROOT} is not the pack / 不是本节点包")
    package = importlib.util.module_from_spec(spec)
    sys.modules["zimage_comfyui"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load_pack()
    from zimage_comfyui.cli.commands import run  # pyright: ignore[reportMissingImports]
    from zimage_comfyui.cli.terminal import open_outputs  # pyright: ignore[reportMissingImports]

    open_outputs()
    sys.exit(run(sys.argv[1:]))
