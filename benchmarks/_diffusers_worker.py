"""diffusers' ZImagePipeline as a process that reads and writes one JSON document per line.

A request is ``{"prompt", "seed", "width", "height", "steps", "path"}``. The response has the
seconds from request to saved file, and the peak of device memory since the last request.
"""

import json
import sys
import time

import torch
from diffusers import ZImagePipeline

device = "cuda" if torch.cuda.is_available() else "cpu"
dtype = torch.bfloat16 if device == "cuda" else torch.float32
pipeline = ZImagePipeline.from_pretrained(sys.argv[1], torch_dtype=dtype).to(device)
pipeline.set_progress_bar_config(disable=True)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    began = time.monotonic()
    shape = (1, 16, request["height"] // 8, request["width"] // 8)
    noise = torch.randn(shape, generator=torch.manual_seed(request["seed"]))
    picture = pipeline(
        request["prompt"],
        width=request["width"],
        height=request["height"],
        num_inference_steps=request["steps"],
        guidance_scale=0.0,
        latents=noise,
    ).images[0]
    picture.save(request["path"], compress_level=4)  # like ComfyUI's SaveImage
    seconds = time.monotonic() - began
    peak = 0
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    print(json.dumps({"seconds": seconds, "device_peak": peak}), flush=True)
