"""Checkpoints: a pytree of arrays and its run's configuration, saved whole or not at all.

``<directory>/<step>/`` holds ``state`` (the arrays, in Orbax's format), ``config`` (the
configuration) and ``entries`` (by name, every array's number in ``state``, shape, dtype and
checksum), the last two as JSON. Orbax writes a step into a temporary folder and renames it when
it is complete, so a run killed while saving leaves the former checkpoints as they were. Orbax
itself, whose import takes a second, is imported by whoever reads or writes.
"""

import contextlib
import json
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.errors import CheckpointError, first_line

Tree = TypeVar("Tree")
Entries = dict[str, dict[str, Any]]

# Orbax's name for the file of a JSON item.
JSON_FILE = "metadata"


def save(
    directory: str | Path,
    step: int,
    tree: Any,
    config: Any,
    *,
    max_to_keep: int | None = None,
) -> Path:
    """Save one step; when this returns, it is on disk.

    Of several processes, one calls this; what it saves, it must see whole.
    Saving the same arrays again at the newest step does nothing.

    Args:
        directory: holds the checkpoints of one run; made if it is not there.
        step: grows from one checkpoint to the next.
        tree: pytree of arrays of any shapes and dtypes, typed PRNG keys included.
        config: a dictionary of what JSON can hold.
        max_to_keep: older checkpoints beyond so many are deleted; None: all stay.

    Returns:
        The step's folder.

    Raises:
        CheckpointError: if the directory holds this or a later step of something else.
        TypeError: if a leaf of the tree is not an array, or config is not JSON.
    """
    directory = Path(directory).absolute()
    arrays = _by_name(tree)
    json.dumps(config)  # fails here rather than half-way
    entries = _describe(arrays)
    newest = latest_step(directory)
    if newest is not None and newest >= step:
        if newest == step and _read_entries(directory / str(step)) == entries:
            return directory / str(step)
        raise CheckpointError(
            f"{directory} already holds step {newest}, saved by another run, so step {step} "
            "cannot be saved there; choose another folder, or remove the old checkpoints"
        )
    documents = {"config": config, "entries": entries}
    _write(directory, step, documents, _stored(arrays, entries), max_to_keep)
    return directory / str(step)


def restore(directory: str | Path, like: Tree, *, step: int | None = None) -> Tree:
    """Read a checkpoint, bit for bit as it was saved.

    Args:
        directory: as given to `save`.
        like: pytree of arrays (or `jax.ShapeDtypeStruct`) with the structure, shapes and dtypes
            that were saved; arrays are placed on its devices.
        step: which checkpoint; None: the newest.

    Returns:
        A tree like ``like``, with the saved values.

    Raises:
        CheckpointError: if there is no such checkpoint, it is corrupt, or its entries differ
            from those of ``like`` in name, shape or dtype.
    """
    folder = _step_folder(directory, step)
    wanted = _by_name(like)
    entries = _read_entries(folder)
    _check_entries(folder, wanted, entries)
    stored = _stored(wanted, entries)
    arrays = _read_arrays(folder, stored) if stored else {}
    leaves = []
    for name, leaf in wanted.items():
        array = arrays.get(str(entries[name]["number"]), leaf)
        if isinstance(array, jax.ShapeDtypeStruct):  # an empty one, which is not stored
            array = jnp.zeros(array.shape, array.dtype)
        saved, found = entries[name]["crc32"], _checksum(array)
        if None not in (saved, found) and saved != found:
            raise CheckpointError(f"checkpoint {folder} is corrupt: wrong checksum of {name!r}")
        leaves.append(array)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def latest_step(directory: str | Path) -> int | None:
    """Return the newest complete step in a directory, None if there is none."""
    directory = Path(directory).absolute()
    return max(_steps(directory), default=None) if directory.is_dir() else None


def read_config(directory: str | Path, *, step: int | None = None) -> dict[str, Any]:
    """Read the configuration saved with a checkpoint.

    Args:
        directory: as given to `save`.
        step: which checkpoint; None: the newest.

    Raises:
        CheckpointError: if there is no such checkpoint or it is corrupt.
    """
    return _read_json(_step_folder(directory, step), "config")


def entry_names(directory: str | Path, *, step: int | None = None) -> list[str]:
    """Return the names of the arrays in a checkpoint, such as ``agent/params/actor/kernel``.

    Args:
        directory: as given to `save`.
        step: which checkpoint; None: the newest.

    Raises:
        CheckpointError: if there is no such checkpoint or it is corrupt.
    """
    return list(_read_entries(_step_folder(directory, step)))


def _describe(arrays: dict[str, Any]) -> Entries:
    return {
        name: {
            "number": number,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "crc32": _checksum(array),
        }
        for number, (name, array) in enumerate(arrays.items())
    }


def _write(
    directory: Path,
    step: int,
    documents: dict[str, Any],
    stored: dict[str, Any],
    max_to_keep: int | None,
) -> None:
    import orbax.checkpoint as ocp

    items: dict[str, Any] = {name: ocp.args.JsonSave(item) for name, item in documents.items()}
    if stored:  # Orbax cannot hold a tree without arrays
        items["state"] = ocp.args.StandardSave(stored)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=_alone(),
    )
    with _quiet():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with ocp.CheckpointManager(directory, options=options) as manager:
                manager.save(step, args=ocp.args.Composite(**items))
        except OSError as error:
            raise CheckpointError(f"cannot save a checkpoint in {directory}: {error}") from error


def _alone() -> Any:
    """Return what tells Orbax that this process saves, and waits for no other."""
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )


def _steps(directory: Path) -> list[int]:
    import orbax.checkpoint as ocp

    return ocp.utils.checkpoint_steps(directory)


def _step_folder(directory: str | Path, step: int | None) -> Path:
    directory = Path(directory).absolute()
    if not directory.is_dir():
        raise CheckpointError(f"there is no checkpoint folder {directory}")
    newest = latest_step(directory)
    if newest is None:
        raise CheckpointError(f"there is no complete checkpoint in {directory}")
    folder = directory / str(newest if step is None else step)
    if not folder.is_dir():
        steps = sorted(_steps(directory))
        raise CheckpointError(f"there is no step {step} in {directory}, only {steps}")
    return folder


def _by_name(tree: Any) -> dict[str, Any]:
    """The leaves by their path in the tree, such as ``agent/params/actor/kernel``."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays: dict[str, Any] = {}
    for path, leaf in leaves:
        # A tree that is one array has an empty path.
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "array"
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(f"{name!r} is not an array but {type(leaf).__name__}")
        if name in arrays:
            raise TypeError(f"two leaves of the tree have the same name {name!r}")
        arrays[name] = leaf
    return arrays


def _stored(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    """What Orbax is given: arrays by number, for it confuses names such as ``a`` and ``a/``.

    It cannot hold arrays without elements either; their entry says all there is to know.
    """
    return {
        str(entries[name]["number"]): array
        for name, array in arrays.items()
        if np.prod(array.shape) > 0
    }


def _checksum(array: Any) -> int | None:
    """Of the bytes; None for an array of which this process sees only a part."""
    if isinstance(array, jax.Array):
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            array = jax.random.key_data(array)
        if not (array.is_fully_addressable or array.is_fully_replicated):
            return None
    return zlib.crc32(np.asarray(array).tobytes())


def _check_entries(folder: Path, wanted: dict[str, Any], entries: Entries) -> None:
    problems = [f"{name!r} is missing in it" for name in wanted if name not in entries]
    problems += [f"{name!r} is not expected" for name in entries if name not in wanted]
    for name, leaf in wanted.items():
        if name in entries:
            expected = (list(leaf.shape), str(leaf.dtype))
            found = (entries[name]["shape"], entries[name]["dtype"])
            if expected != found:
                problems.append(
                    f"{name!r} should be {_described(*expected)} but is {_described(*found)}"
                )
    if problems:
        shown, more = problems[:5], len(problems) - 5
        tail = f"; and {more} more" if more > 0 else ""
        raise CheckpointError(f"checkpoint {folder} does not fit: {'; '.join(shown)}{tail}")


def _described(shape: Any, dtype: Any) -> str:
    return f"{dtype}{shape}"


def _read_arrays(folder: Path, like: dict[str, Any]) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    with _quiet():
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                return checkpointer.restore(folder / "state", like)
        except Exception as error:  # Orbax and TensorStore raise many kinds
            reason = first_line(error)[:200]
            raise CheckpointError(f"checkpoint {folder} is corrupt: {reason}") from error


def _read_entries(folder: Path) -> Entries:
    entries = _read_json(folder, "entries")
    fields = {"number", "shape", "dtype", "crc32"}
    if not all(isinstance(entry, dict) and fields <= entry.keys() for entry in entries.values()):
        raise CheckpointError(f"checkpoint {folder} is corrupt: its entries are malformed")
    return entries


def _read_json(folder: Path, item: str) -> dict[str, Any]:
    path = folder / item / JSON_FILE
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder} is corrupt: {path}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {folder} is corrupt: {path} holds no JSON object")
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax, which tells of its every step through absl's logger, from the console."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
