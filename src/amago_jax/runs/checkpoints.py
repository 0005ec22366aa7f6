"""Checkpoints: parts of a run's state and its configuration, saved whole or not at all.

``<directory>/<step>/`` holds, in Orbax's format, ``state`` (the learner) and ``rest`` (whatever
else training goes on from, where that was saved), and as JSON ``config`` (the configuration),
``progress`` (how far it was, how well it did, and what wrote it), ``entries`` and ``rest_entries``
(see `amago_jax.runs.entries`) and ``seal`` (a checksum of all JSON and of the step). Orbax, whose
import takes a second, is imported by whoever reads or writes.
"""

import dataclasses
import json
import logging
import re
import zlib
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from amago_jax.errors import CheckpointError, DamagedError, first_line
from amago_jax.runs.entries import (
    FIELDS,
    Entries,
    by_name,
    check_fit,
    checksum,
    is_key,
    taken,
    wanted_of,
    wrap_keys,
)

Tree = TypeVar("Tree")

JSON_FILE = "metadata"  # Orbax's name for the file of a JSON item
STATE, REST = "state", "rest"
NEWEST, BEST = "newest", "best"
RETURN = "evaluation/return"
STEP = re.compile("0|[1-9][0-9]*")  # a step's folder
DOCUMENTS, SEAL = ("config", "progress", "entries", "rest_entries"), "seal"
NEEDED = {"config", "entries"}


def entries_item(part: str) -> str:
    """Return the item that holds a part's entries."""
    return "entries" if part == STATE else f"{part}_entries"


def seal_of(step: int, documents: dict[str, Any]) -> int:
    """Return a checksum of a checkpoint's step and its JSON items by name."""
    return zlib.crc32(json.dumps([step, documents], sort_keys=True).encode())


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose description was read, once, and is what was written.

    Attributes:
        folder: holds it.
        documents: its JSON items by name.
    """

    folder: Path
    documents: dict[str, dict[str, Any]]

    @property
    def step(self) -> int:
        """The step."""
        return int(self.folder.name)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        return self.documents["config"]

    @property
    def progress(self) -> dict[str, Any]:
        """How far the run was; empty if saved before that was written down."""
        return self.documents.get("progress", {})

    def has(self, part: str) -> bool:
        """Return whether `STATE` or `REST` was saved with it."""
        return entries_item(part) in self.documents

    def entries(self, part: str = STATE) -> Entries:
        """Return the entries of a part.

        Raises:
            DamagedError: if they are malformed, or not there.
        """
        entries = self.documents.get(entries_item(part))
        if entries is None or not all(map(_is_entry, entries.values())):
            raise DamagedError(f"checkpoint {self.folder} is corrupt: its entries are malformed")
        return entries

    def restore(self, like: Tree, part: str = STATE) -> Tree:
        """Read a part, bit for bit as it was saved.

        Args:
            like: pytree of arrays (or `jax.ShapeDtypeStruct`) with the structure, shapes and dtypes
                that were saved; arrays are placed on its devices.
            part: `STATE` or `REST`.

        Returns:
            A tree like ``like``, with the saved values.

        Raises:
            DamagedError: if it cannot be read, or is not what was written.
            CheckpointError: if its entries differ from those of ``like`` in name, shape or dtype.
        """
        wanted, entries = by_name(like), self.entries(part)
        check_fit(self.folder, wanted, entries)
        asked = wanted_of(wanted, entries)
        arrays = _read_arrays(self.folder / part, asked) if asked else {}
        leaves = []
        for name, leaf in wanted.items():
            try:
                array = taken(entries[name], arrays, leaf)
            except ValueError as error:  # fewer bytes than there should be
                raise DamagedError(f"checkpoint {self.folder} is corrupt: {error}") from error
            if isinstance(array, jax.ShapeDtypeStruct):  # an empty one, which is not stored
                array = jnp.zeros(array.shape, array.dtype)
            if is_key(leaf) and not is_key(array):
                array = wrap_keys(array, leaf)
            saved, found = entries[name]["crc32"], checksum(array)
            if None not in (saved, found) and saved != found:
                raise DamagedError(
                    f"checkpoint {self.folder} is corrupt: wrong checksum of {name!r}"
                )
            leaves.append(array)
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def open_step(directory: str | Path, step: int | None = None) -> Checkpoint:
    """Open a checkpoint: read what describes it, and check its seal.

    Args:
        directory: holds the checkpoints of one run.
        step: which one; None: the newest.

    Raises:
        DamagedError: if it cannot be read, or is not what was written.
        CheckpointError: if there is no such checkpoint.
    """
    folder = step_folder(directory, step)
    if not (folder / SEAL).exists():  # those made before there were seals
        there = [item for item in DOCUMENTS if (folder / item).exists() or item in NEEDED]
        return Checkpoint(folder, {item: _read_json(folder, item) for item in there})
    seal = _read_json(folder, SEAL)
    items = seal.get("items")
    listed = {item for item in items if isinstance(item, str)} if isinstance(items, list) else set()
    if not NEEDED <= listed <= set(DOCUMENTS):
        raise DamagedError(f"checkpoint {folder} is corrupt: its seal is malformed")
    documents = {item: _read_json(folder, item) for item in DOCUMENTS if item in listed}
    if seal_of(int(folder.name), documents) != seal.get("crc32"):
        raise DamagedError(f"checkpoint {folder} is corrupt: wrong checksum of what describes it")
    return Checkpoint(folder, documents)


def restore(
    directory: str | Path, like: Tree, *, step: int | None = None, part: str = STATE
) -> Tree:
    """Open a checkpoint and read a part of it, see `open_step` and `Checkpoint.restore`."""
    return open_step(directory, step).restore(like, part)


def latest_step(directory: str | Path) -> int | None:
    """Return the newest complete step in a directory, None if there is none."""
    return max(steps(directory), default=None)


def steps(directory: str | Path) -> list[int]:
    """Return all complete steps in a directory, ascending.

    What is being written has another name until it is complete.
    """
    directory = Path(directory)
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(int(path.name) for path in found)


def candidates(directory: str | Path, step: int | str = NEWEST) -> list[int]:
    """Return the steps to try, in order, for what was asked for.

    Args:
        directory: holds the checkpoints of one run.
        step: a number; "newest", whose damaged ones are followed by those before; or "best", by the
            return of the last evaluation before.

    Raises:
        CheckpointError: if there is no such checkpoint.
    """
    directory = Path(directory).absolute()
    step_folder(directory, None)  # raises if there is none
    found = steps(directory)[::-1]
    if step == NEWEST:
        return found
    if step == BEST:
        return [max(found, key=lambda step: _return_of(directory, step))]
    try:
        number = int(step)
    except ValueError as error:
        raise CheckpointError(
            f"step={step} must be {NEWEST}, {BEST} or a number, of {sorted(found)}"
        ) from error
    step_folder(directory, number)
    return [number]


def may_have(directory: str | Path, part: str, *, step: int | None = None) -> bool:
    """Return whether a part was saved with a checkpoint, or that is not known: it is damaged."""
    try:
        return open_step(directory, step).has(part)
    except DamagedError:
        return True


def step_folder(directory: str | Path, step: int | None) -> Path:
    """Return a checkpoint's folder.

    Raises:
        CheckpointError: if there is none.
    """
    directory = Path(directory).absolute()
    if not directory.is_dir():
        inside = sorted(path.parent.name for path in directory.parent.glob("*/checkpoints"))
        hint = f"; {directory.parent} holds the runs {', '.join(inside[:5])}" if inside else ""
        raise CheckpointError(f"there is no checkpoint folder {directory}{hint}")
    newest = latest_step(directory)
    if newest is None:
        raise CheckpointError(f"there is no complete checkpoint in {directory}")
    folder = directory / str(newest if step is None else step)
    if not folder.is_dir():
        raise CheckpointError(f"there is no step {step} in {directory}, only {steps(directory)}")
    return folder


def silence_orbax() -> None:
    """Keep Orbax, which tells of its every step through absl's logger, from the console.

    What goes wrong in its threads is raised where one waits for them, too.
    """
    logging.getLogger("absl").addFilter(_not_of_orbax)
    logging.getLogger("asyncio").addFilter(_not_of_tensorstore)


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _not_of_tensorstore(record: logging.LogRecord) -> bool:
    """Leave out what failed in other reads beside the one whose error is raised."""
    return "tensorstore" not in record.getMessage()


def _return_of(directory: Path, step: int) -> float:
    try:
        found = open_step(directory, step).progress.get(RETURN)
    except DamagedError:
        found = None
    return -float("inf") if found is None else float(found)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.keys() >= FIELDS


def _read_arrays(path: Path, like: dict[str, Any]) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    silence_orbax()
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, like)
    except Exception as error:  # Orbax and TensorStore raise many kinds
        reason = first_line(error)[:200]
        raise DamagedError(f"checkpoint {path.parent} is corrupt: {reason}") from error


def _read_json(folder: Path, item: str) -> dict[str, Any]:
    path = folder / item / JSON_FILE
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedError(f"checkpoint {folder} is corrupt: {path}: {error}") from error
    if not isinstance(content, dict):
        raise DamagedError(f"checkpoint {folder} is corrupt: {path} holds no JSON object")
    return content
