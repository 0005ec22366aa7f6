"""The rows that a run leaves behind, one per epoch, read back from its file."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amago_jax.errors import FileError, disk_reason

METRICS_FILE = "metrics.jsonl"

Rows = Sequence[Mapping[str, Any]]
Frame = Any
"""A pandas.DataFrame with a row per epoch and a column per metric, or a list of dictionaries."""


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read what a `amago_jax.runs.logging.JsonLinesLogger` wrote.

    A last line without its end is what a killed run leaves; it is left out.

    Args:
        path: the file.

    Returns:
        One dictionary per line; null is None.

    Raises:
        FileNotFoundError: if there is no such file.
        FileError: if it cannot be read, or a line is not a JSON object, naming file and line.
    """
    try:
        *lines, rest = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FileError(f"{path}: {disk_reason(error)}") from error
    rows = [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    if rest:
        with contextlib.suppress(ValueError):  # the line a killed run was writing
            rows.append(_parse(rest, str(path)))
    return rows


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:  # malformed JSON or malformed UTF-8
        raise FileError(f"{place}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise FileError(f"{place}: not a JSON object but {type(row).__name__}")
    return row


def times(
    row: Mapping[str, Any], before: Mapping[str, Any] | None, training: float, whole: float
) -> dict[str, float]:
    """Return what an epoch's row says of times and rates, which leave out compiling.

    Args:
        row: of the epoch, without them.
        before: of the epoch before; None: it is the first.
        training: seconds that the epoch took.
        whole: likewise, an evaluation included.
    """
    before = before or {"env_steps": 0.0, "updates": 0.0, "time/seconds": 0.0}
    total = before["time/seconds"] + whole
    return {
        "time/seconds": total,
        "time/eta_seconds": total / row["epoch"] * (row["epochs"] - row["epoch"]),
        "time/env_steps_per_second": (row["env_steps"] - before["env_steps"]) / training,
        "time/updates_per_second": (row["updates"] - before["updates"]) / training,
    }


def frame_of(rows: Rows) -> Frame:
    """Return rows as a pandas frame where pandas is installed, else as they are, copied."""
    try:
        import pandas
    except ImportError:
        return [dict(row) for row in rows]
    return pandas.DataFrame.from_records([dict(row) for row in rows])
