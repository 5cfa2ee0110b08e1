"""A process that starts ComfyUI, watches it, and has the port answer whatever becomes of it.

Standard library and psutil only. It never imports the server; both speak over :mod:`.channel`.
"""
