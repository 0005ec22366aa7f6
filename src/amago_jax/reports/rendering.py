"""Pictures of an episode, with captions: moving ones, and frames side by side."""

import base64
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

LEAST_SIDE = 320  # pixels; small images are enlarged
LINE, MARGIN = 14, 6  # pixels, of captions
GAP = 8  # pixels, between frames side by side
MILLISECONDS = 150  # per frame


def write_animation(frames: Iterable[tuple[np.ndarray, list[str]]], path: str | Path) -> Path:
    """Write frames as a GIF.

    Args:
        frames: an image, uint8 ``[H, W, 3]``, and the lines of its caption for each.
        path: the file to write; its folder is made.

    Returns:
        The file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(animate(frames).gif)
    return path


@dataclasses.dataclass(frozen=True)
class Animation:
    """A moving picture that notebooks show.

    Attributes:
        gif: the file's bytes.
    """

    gif: bytes = dataclasses.field(repr=False)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the picture itself, which needs no other file."""
        data = base64.b64encode(self.gif).decode()
        return f'<img alt="an episode" src="data:image/gif;base64,{data}">'


def animate(frames: Iterable[tuple[np.ndarray, list[str]]]) -> Animation:
    """Return frames as an animation, see `write_animation`."""
    first, *rest = [_frame(image, caption) for image, caption in frames]
    # The last frame stays for a while.
    durations = [MILLISECONDS] * len(rest) + [10 * MILLISECONDS]
    file = io.BytesIO()
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return Animation(file.getvalue())


def film_strip(
    frames: Iterable[tuple[np.ndarray, list[str]]], count: int = 6, columns: int = 3
) -> Image.Image:
    """Return some frames side by side, from the first to the last, where nothing can move.

    Args:
        frames: as `write_animation` takes them.
        count: how many at most, evenly spread.
        columns: of the picture.

    Returns:
        The picture, which notebooks show.

    Raises:
        ValueError: if there is nothing to show.
    """
    pictures = [_frame(image, caption) for image, caption in frames]
    if min(len(pictures), count, columns) < 1:
        raise ValueError(
            f"frames, count={count} and columns={columns} must be at least 1; "
            f"there are {len(pictures)} frames"
        )
    places = np.unique(np.linspace(0, len(pictures) - 1, min(count, len(pictures))).astype(int))
    # Captions, and so frames, may differ in height.
    width, height = (max(side) for side in zip(*(x.size for x in pictures), strict=True))
    columns = min(columns, len(places))
    rows, step = -(-len(places) // columns), width + GAP
    strip = Image.new("RGB", (step * columns - GAP, height * rows), "white")
    for number, place in enumerate(places):
        row, column = divmod(number, columns)
        strip.paste(pictures[place], (column * step, row * height))
    return strip


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
