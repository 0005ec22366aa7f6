"""An animated picture of an episode, with captions."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LEAST_SIDE = 320  # pixels; small images are enlarged
LINE, MARGIN = 14, 6  # pixels, of captions
MILLISECONDS = 150  # per frame


def write_animation(frames: Iterable[tuple[np.ndarray, list[str]]], path: str | Path) -> Path:
    """Write frames as a GIF.

    Args:
        frames: an image, uint8 ``[H, W, 3]``, and the lines of its caption for each.
        path: the file to write; its folder is made.

    Returns:
        The file.
    """
    first, *rest = [_frame(image, caption) for image, caption in frames]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The last frame stays for a while.
    durations = [MILLISECONDS] * len(rest) + [10 * MILLISECONDS]
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)
    return path


def _frame(image: np.ndarray, caption: list[str]) -> Image.Image:
    """Enlarge an image and write a caption below it."""
    height, width = image.shape[:2]
    scale = max(1, -(-LEAST_SIDE // max(height, width)))
    picture = Image.fromarray(np.asarray(image, np.uint8)).resize(
        (width * scale, height * scale), Image.Resampling.NEAREST
    )
    size = (picture.width, picture.height + LINE * len(caption) + 2 * MARGIN)
    frame = Image.new("RGB", size, "white")
    frame.paste(picture)
    pen = ImageDraw.Draw(frame)
    for index, line in enumerate(caption):
        pen.text((MARGIN, picture.height + MARGIN + LINE * index), line, fill="black")
    return frame
