"""What a pack does all day, and what it sees of itself; as ``jailed_acts``."""

import mmap
import os
import socket
import sys
from pathlib import Path


def threads():
    """Several, at once."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(abs, range(10)))


def event_loop():
    """asyncio with another thread and a timer."""
    import asyncio

    async def work():
        await asyncio.sleep(0.01)
        return await asyncio.to_thread(lambda: 3)

    return asyncio.run(work())


def sleep():
    """For a moment."""
    import time

    time.sleep(0.01)


def temporary():
    """Files and folders with names of their own, and their removal."""
    import tempfile

    with tempfile.TemporaryDirectory() as where:
        with tempfile.NamedTemporaryFile(dir=where) as file:
            file.write(b"x")
        Path(where, "a").write_text("a")
        Path(where, "b").mkdir()
        os.rename(Path(where, "a"), Path(where, "b", "a"))
        return where


def copies(source, target):
    """With the mode, and with all else that there is."""
    import shutil

    shutil.copy(source, target)
    shutil.copy2(source, target)
    return Path(target).read_bytes() == Path(source).read_bytes()


def mapped(path):
    """A file as memory."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data[:4].decode()


def processor():
    """Asks a program, normally."""
    import platform

    return isinstance(platform.processor(), str)


def find_library():
    """Asks several programs, normally."""
    import ctypes.util

    return str(ctypes.util.find_library("c"))


def digest():
    """Needs OpenSSL to start."""
    import hashlib
    import ssl

    ssl.create_default_context()
    return hashlib.sha256(b"x").hexdigest()[:4]


def queues():
    """Between threads and, as far as it goes, of multiprocessing."""
    from multiprocessing import Pipe

    one, other = Pipe()
    one.send("x")
    return other.recv()


def picture(where):
    """Drawn with a font, saved and read again; the size of the file."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (64, 64))
    fonts = sorted(Path("/usr/share/fonts").rglob("*.ttf"))
    font = ImageFont.truetype(str(fonts[0]), 12) if fonts else ImageFont.load_default()
    ImageDraw.Draw(image).text((2, 2), "x", font=font, fill="white")
    image.save(where)
    with Image.open(where) as again:
        return again.size[0] if again.getbbox() else 0


def arrays():
    """numpy and torch with two threads: a product and a convolution."""
    import numpy
    import torch

    torch.set_num_threads(2)
    one = torch.ones(256, 256)
    product = (one @ one).sum().item()
    convolved = torch.nn.functional.conv2d(torch.ones(1, 3, 64, 64), torch.ones(4, 3, 3, 3))
    return [product, convolved.max().item(), float(numpy.ones((64, 64)).dot(numpy.ones(64)).sum())]


def resolve():
    """Names that this machine knows itself."""
    return socket.getaddrinfo("localhost", 80)[0][4][0]


def modules():
    """What loading the package has imported."""
    return [name for name in ("torch", "comfy", "numpy", "zimage_comfyui") if name in sys.modules]


def status():
    """What the kernel says of this process."""
    names = ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    lines = Path("/proc/self/status").read_text().splitlines()
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines) if k in names}


def open_descriptors():
    """Their numbers."""
    return [int(one) for one in os.listdir("/proc/self/fd")]


def pinned():
    """Paths in procfs that are held open."""
    links = [f"/proc/self/fd/{one}" for one in os.listdir("/proc/self/fd")]
    return [os.readlink(one) for one in links if os.path.lexists(one)]
