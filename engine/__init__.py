"""The torch logic behind the nodes: files, checkpoints, conditioning, sampling, decoding, saving.

Everything that touches ComfyUI itself goes through :mod:`.host`; the modules ``safetensors_file``,
``architecture``, ``presets`` and ``sizes`` need neither torch nor ComfyUI.
"""
