"""Writing checkpoints, in the background, each whole or not at all.

Orbax writes a step into a temporary folder and renames it when it is complete, so a run killed
while saving leaves the former checkpoints as they were.
"""

import contextlib
import functools
import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from amago_jax.errors import CheckpointError, first_line
from amago_jax.runs.checkpoints import (
    RETURN,
    STATE,
    entries_item,
    latest_step,
    open_step,
    seal_of,
    silence_orbax,
    steps,
)
from amago_jax.runs.closing import Closing
from amago_jax.runs.entries import Entries, by_name, content, describe, stored
from amago_jax.runs.memory import give_back_freed_memory


class Saver(Closing):
    """Saves the checkpoints of one run; one at a time is written while training goes on.

    Attributes:
        directory: holds them.
        begun: whether those that are there are of the run that this saves.
    """

    def __init__(
        self, directory: str | Path, *, keep: int | None = None, after: int | None = None
    ) -> None:
        """Choose where; nothing is written yet.

        Args:
            directory: made when the first checkpoint is saved.
            keep: how many of the newest stay, beside the best one; None: all do.
            after: the step from which a run goes on; what is later is moved into a folder beside
                it, ``checkpoints_left``, when the first is saved. None: of a new run, which saves
                where there are no checkpoints.
        """
        self.directory = Path(directory).absolute()
        self._keep, self._after = keep, after
        self.begun = after is not None
        self._manager: Any = None

    def save(
        self,
        step: int,
        parts: dict[str, Any],
        config: Any,
        progress: dict[str, Any] | None = None,
    ) -> Path:
        """Begin to save one step; what is given may change as soon as this returns.

        Saving the same arrays again at the newest step does nothing. Of several processes, one
        calls this; what it saves, it must see whole.

        Args:
            step: grows from one checkpoint to the next.
            parts: `STATE`, and maybe `REST`: pytrees of arrays of any shapes and dtypes, typed PRNG
                keys included.
            config: a dictionary of what JSON can hold.
            progress: likewise; the best checkpoint is the one with the greatest `RETURN` in it.

        Returns:
            The step's folder.

        Raises:
            CheckpointError: if the directory holds this or a later step of something else, or any
                of another run, or this or the step before could not be written.
            TypeError: if a leaf of a tree is not an array, or config is not JSON.
        """
        arrays = {part: by_name(tree) for part, tree in parts.items()}
        progress = {**(progress or {}), "wrote": _versions()}
        documents: dict[str, Any] = {"config": config, "progress": progress}
        json.dumps(documents)  # fails here rather than half-way
        entries = {part: describe(named) for part, named in arrays.items()}
        with contextlib.ExitStack() as stack:
            try:
                self.wait()
            except CheckpointError as error:
                # This one is saved all the same; then it is told that the one before was not.
                stack.callback(_raise, error)
            # A save leaves it in pieces, and so does compiling.
            give_back_freed_memory()
            self._move_later_aside()
            if not self._is_there(step, entries[STATE]):
                self._begin(step, arrays, documents, entries)
                self.begun = True
        return self.directory / str(step)

    def _begin(
        self,
        step: int,
        arrays: dict[str, dict[str, Any]],
        documents: dict[str, Any],
        entries: dict[str, Entries],
    ) -> None:
        """Copy what is to be written, and have it written."""
        found = documents["progress"].get(RETURN)
        documents |= {entries_item(part): described for part, described in entries.items()}
        documents = json.loads(json.dumps(documents))
        documents["seal"] = {"crc32": seal_of(step, documents), "items": list(documents)}
        held = {part: stored(named, entries[part]) for part, named in arrays.items()}
        metrics = None if found is None else {RETURN: found}
        self._write(step, documents, {part: tree for part, tree in held.items() if tree}, metrics)

    def _move_later_aside(self) -> None:
        """Make way for a run that goes on from another checkpoint than the newest."""
        after, self._after = self._after, None
        if after is None:
            return
        with self._errors():
            for step in steps(self.directory):
                if step > after:
                    aside = self.directory.with_name("checkpoints_left") / str(step)
                    aside.parent.mkdir(exist_ok=True)
                    shutil.rmtree(aside, ignore_errors=True)
                    (self.directory / str(step)).rename(aside)

    def wait(self) -> None:
        """Wait until what was begun is on disk.

        Raises:
            CheckpointError: if it could not be written.
        """
        if self._manager is not None:
            with self._errors():
                self._manager.wait_until_finished()

    def keep_other(self, keep: int) -> None:
        """Keep another number of the newest from now on.

        Raises:
            CheckpointError: if what was begun could not be written.
        """
        self.close()  # who writes next is told anew
        self._keep = keep

    def close(self) -> None:
        """Wait likewise, and end."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                with contextlib.suppress(Exception):
                    self._manager.close()
                self._manager = None

    def _is_there(self, step: int, entries: Any) -> bool:
        newest = latest_step(self.directory)
        if newest is None or (self.begun and newest < step):
            return False
        if newest == step and content(open_step(self.directory).entries()) == content(entries):
            return True
        raise CheckpointError(
            f"{self.directory} already holds step {newest}, saved by another run, so step {step} "
            "cannot be saved there; choose another folder, or remove the old checkpoints"
        )

    def _write(
        self,
        step: int,
        documents: dict[str, Any],
        parts: dict[str, Any],
        metrics: dict[str, float] | None,
    ) -> None:
        with self._errors():
            import orbax.checkpoint as ocp

            items: dict[str, Any] = {
                name: ocp.args.JsonSave(item) for name, item in documents.items()
            }
            # Orbax cannot hold a tree without arrays.
            items |= {part: ocp.args.StandardSave(tree) for part, tree in parts.items()}
            if self._manager is None:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._manager = _manager(self.directory, self._keep)
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say in one sentence what Orbax and the disk say in many."""
        silence_orbax()
        try:
            yield
        except Exception as error:
            # What is left of the manager would go on about the same error.
            broken, self._manager = self._manager, None
            if broken is not None:
                with contextlib.suppress(Exception):
                    broken.close()
            raise CheckpointError(
                f"cannot save a checkpoint in {self.directory}: {first_line(error)}"
            ) from error


def _raise(error: Exception) -> None:
    raise error


def _manager(directory: Path, keep: int | None) -> Any:
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy as policies

    def value(metrics: dict[str, float]) -> float:
        return metrics[RETURN]

    best = policies.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False)
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            # Without it, Orbax reads no metrics of checkpoints that were there before.
            best_fn=value,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            cleanup_tmp_directories=True,
            create=False,
            multiprocessing_options=_alone(),
        ),
    )


def _alone() -> Any:
    """Return what tells Orbax that this process saves, and waits for no other."""
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )


@functools.cache
def _versions() -> dict[str, str]:
    """Return what writes: versions, and the revision of a checkout."""
    found = {name: importlib.metadata.version(name) for name in ("jax", "flax", "orbax-checkpoint")}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["amago_jax"] = importlib.metadata.version("amago_jax")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=5)
        found["revision"] = done.stdout.strip()
    return found
