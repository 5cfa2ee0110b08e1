"""Node packs of other authors in processes of their own.

``policy`` decides which packs; ``loading`` replaces ComfyUI's loader for them; ``host`` runs their
workers; ``web`` connects them with ComfyUI's server. ``worker`` is the other side: a template
process that has imported ComfyUI forks a worker for each pack, which confines itself
(``confinement``), imports the pack and answers calls. Host and worker share only ``protocol`` and
``confinement``, since a worker is started by file, without the rest of the product.

The host trusts nothing that a worker sends: messages have closed types, and nothing in them names
code.
"""
