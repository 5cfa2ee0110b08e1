"""Save pictures with their workflow; dropping one on the page restores the workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ..engine import pictures, saving
from .types import CATEGORY, INT_MAX, INT_MIN


class ZImageSave(io.ComfyNode):
    """Saves pictures with their workflow, by default as WebP of quality 85."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's name and inputs."""
        return io.Schema(
            node_id="ZImageSave",
            display_name="Z-Image Save · 保存",
            category=CATEGORY,
            description="Saves pictures to ComfyUI's output folder together with the workflow.",
            inputs=[
                io.Image.Input("images", tooltip="The pictures to save."),
                io.String.Input(
                    "filename_prefix",
                    default="Z-Image",
                    tooltip="Beginning of the file name; may name folders and use "
                    "%year%, %month%, %day%, %width%, %height%, %batch_num%.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(pictures.FORMATS),
                    default="webp",
                    tooltip="Dropping a webp or png on the page restores the workflow. A jpeg "
                    "carries it as well, but ComfyUI's page does not read it from jpeg.",
                ),
                io.Int.Input(
                    "quality",
                    default=85,
                    min=INT_MIN,
                    max=INT_MAX,
                    tooltip="1 to 100, for webp and jpeg.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, images, filename_prefix: str, format: str = "webp", quality: int = 85
    ) -> io.NodeOutput:
        """Write every picture of the batch; return the files for the page."""
        height, width = images.shape[1:3]
        folder, name, counter, subfolder = _target(filename_prefix, width, height)
        results = []
        for index, pixels in enumerate(images):
            stem = name.replace("%batch_num%", str(index))
            suffix = pictures.FORMATS.get(format, "")
            while (folder / (file := f"{stem}_{counter + index:05}_{suffix}")).exists():
                counter += 1  # the host's counter ignores names with %batch_num%
            image = pictures.to_image(pixels.cpu().numpy())
            pictures.save(image, folder / file, format, quality, cls._metadata())
            results.append(ui.SavedResult(file, subfolder, io.FolderType.output))
        return io.NodeOutput(ui=ui.SavedImages(results))

    @classmethod
    def _metadata(cls) -> dict[str, Any]:
        if args.disable_metadata:
            return {}
        extra = cls.hidden.extra_pnginfo
        return {"prompt": cls.hidden.prompt, **(extra if isinstance(extra, dict) else {})}


def _target(prefix: str, width: int, height: int) -> tuple[Path, str, int, str]:
    """Create the folder; return it with file name, first free number and subfolder."""
    root = folder_paths.get_output_directory()
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, root, width, height
        )
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pictures.output_error(Path(root) / prefix, error) from error
    except Exception as error:  # the host raises a bare Exception for a path outside output/
        raise saving.outside(prefix, root) from error
    return Path(folder), name, counter, subfolder
