"""Other people's node packs in processes of their own.

``policy`` says which; ``loading`` takes the place of ComfyUI's loader for them; ``proxy`` makes the
node classes that stand in ComfyUI for what runs elsewhere; ``supervisor`` keeps one ``process``
for each pack. On the other side ``template`` has imported ComfyUI and forks a ``worker`` for each
pack, which confines itself (``confinement``), imports the pack and answers. Both sides share
``messages``, ``values``, ``arena`` and ``link``, and import nothing else of this folder, since a
worker is started by file.

What a worker sends is never trusted: messages are of closed types, nothing in them names code.
"""
