"""The command line behind ``./zimage``: standard library and aiohttp, never torch or comfy."""
