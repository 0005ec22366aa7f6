"""TensorBoard: event files in the run's folder."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from amago_jax.runs.logging.base import Logger, Outcome, Row, RunInfo, numbers, require
from amago_jax.settings import Positive, check


class TensorBoardLogger(Logger):
    """Writes event files through tensorboardX, which needs neither TensorFlow nor PyTorch."""

    rewinds = True

    def __init__(self, folder: str = "tensorboard", flush_seconds: Positive = 30.0) -> None:
        """Choose where files go.

        Args:
            folder: within the run's.
            flush_seconds: rows are on disk after so long, at the latest.

        Raises:
            ValueError: if the package is missing.
        """
        check("flush_seconds", flush_seconds, Positive)
        require("tensorboardX", "tensorboard")
        self._folder, self._seconds = folder, flush_seconds
        self._writer: Any = None

    def start(self, info: RunInfo) -> str | None:
        """See `Logger`; a run that goes on has what was logged after its checkpoint purged."""
        from tensorboardX import SummaryWriter

        after = -1 if info.step is None else info.step
        self._writer = SummaryWriter(
            logdir=str(info.folder / self._folder),
            purge_step=None if info.step is None else after + 1,
            flush_secs=self._seconds,
            # Files of the same second would have the same name, and the later one be all there is.
            filename_suffix=f".{after + 1}",
        )
        settings = OmegaConf.to_yaml(OmegaConf.create(info.config))
        # Four spaces make it code in Markdown.
        self._writer.add_text("config", textwrap.indent(settings, "    "), after + 1)
        return None

    def log(self, row: Row, step: int) -> None:
        """See `Logger`."""
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """See `Logger`."""
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self, outcome: Outcome) -> None:
        """See `Logger`; TensorBoard knows nothing of how runs end."""
        self._writer.close()
