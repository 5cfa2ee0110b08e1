"""What host and worker share is loaded by a worker that knows nothing else of the product."""

from __future__ import annotations

import json
import subprocess
import sys

from zimage_comfyui.sandbox.host.template_client import TEMPLATE

LOAD = """
import importlib, importlib.util, json, pkgutil, sys
spec = importlib.util.spec_from_file_location("template", sys.argv[1])
template = importlib.util.module_from_spec(spec)
spec.loader.exec_module(template)
template.load_package()
protocol = importlib.import_module("zimage_sandbox.protocol")
for module in pkgutil.iter_modules(protocol.__path__):
    importlib.import_module(f"zimage_sandbox.protocol.{module.name}")
print(json.dumps(sorted(sys.modules)))
"""


def test_the_protocol_loads_without_the_product_and_without_torch() -> None:
    """A worker is started by file, and a test of limits should not wait for torch."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, str(TEMPLATE)],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(done.stdout)
    assert "zimage_sandbox.protocol.codec" in modules
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"torch", "numpy", "comfy", "zimage_comfyui", "errors", "config"}
    own = {name.split(".")[1] for name in modules if name.startswith("zimage_sandbox.")}
    assert own == {"protocol"}
