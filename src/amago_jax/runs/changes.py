"""The record of what was changed within a run, in its folder and in its checkpoints."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import CheckpointError, disk_reason
from amago_jax.reports.finding import CONFIG_FILE
from amago_jax.runs.changing import BETWEEN, differences
from amago_jax.runs.checkpoints import Checkpoint
from amago_jax.runs.directories import save_settings, write_json
from amago_jax.runs.frozen import thaw
from amago_jax.runs.hosts import is_writer

CHANGES_FILE = "changes.json"


class Changes:
    """What was changed, and after which epochs.

    Attributes:
        made: a dictionary for each time: ``epoch``, the last one before, and ``settings`` by name.
    """

    def __init__(self) -> None:
        """Nothing was changed yet."""
        self.made: list[dict[str, Any]] = []

    def note(self, epoch: int, before: DictConfig, after: DictConfig) -> None:
        """Note how configurations differ, but for what is another process's alone.

        Args:
            epoch: the last one that was trained as before.
            before: the run's configuration until then.
            after: and from then on.
        """
        settings = {
            name: value
            for name, value in differences(before, after).items()
            if name.partition(".")[0] not in (*BETWEEN, "run_dir")  # the folder may have been moved
        }
        if settings:
            self.made.append({"epoch": epoch, "settings": settings})

    def restore(self, checkpoint: Checkpoint, config: DictConfig, epoch: int) -> None:
        """Take over what a checkpoint says, and note how the run is to go on from it.

        Args:
            checkpoint: from which it goes on.
            config: in which it does.
            epoch: the checkpoint's.
        """
        self.made = list(checkpoint.progress.get("changes", []))
        before = OmegaConf.merge(thaw(config), checkpoint.config)  # older ones lack settings
        self.note(epoch, before, config)  # type: ignore[arg-type]

    def write(self, folder: Path, config: DictConfig) -> None:
        """Write the record, and the configuration as it is now where one was written.

        Args:
            folder: the run's.
            config: the run's.

        Raises:
            CheckpointError: if that cannot be done.
        """
        if not (self.made and is_writer()):
            return
        path = folder / CHANGES_FILE
        try:
            write_json(path, self.made)
        except OSError as error:
            raise CheckpointError(f"cannot write {path}: {disk_reason(error)}") from error
        if (folder / CONFIG_FILE).exists():
            save_settings(config, folder / CONFIG_FILE)
