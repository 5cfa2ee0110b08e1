"""Turbo: seconds per picture and peak memory of the pack's nodes, the host's nodes and diffusers.

All have the same random weights, prompts and noise and 8 evaluations, run in turns, and have their
own process. Models have a medium size on the CPU and full size on CUDA. The share of the ceiling of
matrix products on the same device is given. METHOD.md describes what is counted.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import _common

STEPS = 8
CAPTION_TOKENS = 48
PROMPT = "电商海报：一只红色的陶瓷杯放在浅蓝色背景前，柔和的光，留白，高清，第 {} 张"
PAIRS = (("nodes", "host"), ("nodes", "diffusers"), ("host", "diffusers"))


def main(argv: list[str]) -> int:
    """Run the comparison; return exit code 0 if every contender made every picture."""
    parser = _common.parser(__doc__ or "", repeats=3)
    parser.add_argument("--size", help="WIDTHxHEIGHT (default 320x256; on CUDA 1024x1024)")
    parser.add_argument("--tiny", action="store_true", help="smallest models, for a trial")
    options = parser.parse_args(argv)
    _common.load_pack()
    import _contenders
    import _models
    import torch

    full = torch.cuda.is_available() and not options.tiny
    sizes = _models.TINY if options.tiny else _models.FULL if full else _models.MIDDLE
    size = options.size or ("96x64" if options.tiny else "1024x1024" if full else "320x256")
    width, height = (int(side) for side in size.split("x"))
    folder = Path(tempfile.mkdtemp(prefix="zimage-bench-"))
    try:
        _common.say("writing random models")
        tokenizer = _common.the_host().path / "comfy" / "text_encoders" / "qwen25_tokenizer"
        _models.write(folder, sizes, tokenizer, torch.bfloat16 if full else torch.float32)
        contenders = _contenders.all_three(folder, full)
        measured = _measure(contenders, options.repeats, width, height)
    finally:
        _contenders.clean(folder)
    flops = STEPS * _models.evaluation_flops(sizes, width, height, CAPTION_TOKENS)
    figures = {
        "settings": {"size": size, "steps": STEPS, "full_size_model": full, **vars(sizes)},
        "contenders": measured["contenders"],
        "ratios": _ratios(measured["contenders"]),
        "largest_difference": measured["largest_difference"],
        "ceiling": _ceiling(flops, measured["contenders"]),
    }
    return _common.finish("turbo", options, figures, _table(figures))


def _measure(contenders: list[Any], repeats: int, width: int, height: int) -> dict[str, Any]:
    """Make a picture each as warm-up, then ``repeats`` rounds in rotating order."""
    import _contenders

    def job(index: int) -> Any:
        return _contenders.Job(PROMPT.format(index), index, width, height, STEPS)

    results: dict[str, list[Any]] = {contender.name: [] for contender in contenders}
    first, peaks, difference = {}, {}, 0.0
    try:
        for contender in contenders:
            _common.say(f"{contender.name}: starting and warming up")
            contender.start()
            first[contender.name] = contender.make(job(0)).seconds
            peaks[contender.name] = _contenders.watch(contender)
        for index in range(1, repeats + 1):
            turn = index % len(contenders)
            for contender in contenders[turn:] + contenders[:turn]:
                results[contender.name].append(contender.make(job(index)))
                _common.say(
                    f"{contender.name} {index}: {results[contender.name][-1].seconds:.2f} s"
                )
            difference = max(difference, _difference([results[name][-1].path for name in results]))
        rss = {name: peak() for name, peak in peaks.items()}
    finally:
        for contender in contenders:
            contender.stop()
    return {
        "largest_difference": difference,
        "contenders": {
            name: {
                "seconds": _common.summary([result.seconds for result in pictures]),
                "first_seconds": round(first[name], 4),
                "peak_rss_mib": round(rss[name] / _common.MIB, 1),
                "peak_device_mib": round(
                    max(result.device_peak for result in pictures) / _common.MIB, 1
                ),
            }
            for name, pictures in results.items()
        },
    }


def _difference(paths: list[Path]) -> float:
    """Return the largest difference between pictures of the same job, in 0..255."""
    import numpy as np
    from PIL import Image

    pictures = [np.asarray(Image.open(path).convert("RGB"), dtype=np.int16) for path in paths]
    return float(max(np.abs(picture - pictures[0]).max() for picture in pictures))


def _ratios(contenders: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return ratios of median seconds and peak memory; below 1, the first contender is better."""
    memory = "peak_device_mib" if contenders["host"]["peak_device_mib"] else "peak_rss_mib"
    return {
        f"{first}/{second}": {
            "seconds": round(
                contenders[first]["seconds"]["median"] / contenders[second]["seconds"]["median"], 3
            ),
            memory: round(contenders[first][memory] / contenders[second][memory], 3),
        }
        for first, second in PAIRS
    }


def _ceiling(flops: float, contenders: dict[str, Any]) -> dict[str, Any]:
    """Compare the transformer's matrix products with one large product on this machine."""
    rate = _product_rate()
    return {
        "tflop_per_picture": round(flops / 1e12, 3),
        "matrix_product_tflop_per_second": round(rate / 1e12, 4),
        "share": {
            name: round(flops / rate / figures["seconds"]["median"], 3)
            for name, figures in contenders.items()
        },
    }


def _product_rate() -> float:
    """Return the FLOP per second of the fastest of several large products."""
    import time

    import torch

    cuda = torch.cuda.is_available()
    side = 8192 if cuda else 2048
    dtype, device = (torch.bfloat16, "cuda") if cuda else (torch.float32, "cpu")
    a = torch.randn(side, side, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(20 if cuda else 5):
        began = time.perf_counter()
        _ = a @ a
        if cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * side**3 / best


def _table(figures: dict[str, Any]) -> str:
    """Return the table."""
    ceiling = figures["ceiling"]
    lines = [f"{'':10} {'s/picture':>10} {'first':>8} {'RSS MiB':>9} {'GPU MiB':>9} {'share':>6}"]
    for name, result in figures["contenders"].items():
        lines.append(
            f"{name:10} {result['seconds']['median']:10.3f} {result['first_seconds']:8.2f} "
            f"{result['peak_rss_mib']:9.0f} {result['peak_device_mib']:9.0f} "
            f"{ceiling['share'][name]:6.0%}"
        )
    for pair, ratio in figures["ratios"].items():
        parts = ", ".join(f"{what} {value:.3f}" for what, value in ratio.items())
        lines.append(f"{pair}: {parts}")
    lines.append(
        f"{figures['settings']['size']}, {STEPS} evaluations; pictures differ by at most "
        f"{figures['largest_difference']:.0f}/255; ceiling "
        f"{ceiling['matrix_product_tflop_per_second']:.3f} TFLOP/s"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
