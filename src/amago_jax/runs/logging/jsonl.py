"""Metrics as JSON lines: one object per line, readable while the run goes on."""

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from amago_jax.errors import CheckpointError, disk_reason
from amago_jax.reports.rows import METRICS_FILE
from amago_jax.runs.closing import Closing
from amago_jax.runs.logging.base import Row


class JsonLinesLogger(Closing):
    """Appends every row to ``metrics.jsonl`` and flushes it at once.

    Attributes:
        path: the file.
    """

    def __init__(
        self, run_dir: str | Path, enabled: bool = True, *, after: Sequence[Row] = ()
    ) -> None:
        """Open the file, made with its folder if it is not there.

        Args:
            run_dir: the run's folder.
            enabled: False: touch nothing and write nothing.
            after: rows of a run that goes on; of those in the file, later ones are dropped.

        Raises:
            CheckpointError: if the file cannot be written.
        """
        self.path = Path(run_dir) / METRICS_FILE
        self._file: TextIO | None = None
        if not enabled:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _drop_incomplete_line(self.path)
            if after:
                _drop_later_rows(self.path, after[-1]["epoch"])
            self._file = self.path.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {disk_reason(error)}") from error

    def log(self, row: Row) -> None:
        """Write one row; NaN and infinity, which JSON does not know, become null."""
        if self._file is None:
            return
        values = {name: _json_value(value) for name, value in row.items()}
        self._file.write(json.dumps(values, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            # What could not be written was told when it was logged; closing tries again.
            with contextlib.suppress(OSError):
                self._file.close()


def _json_value(value: Any) -> float | int | str | None:
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)  # NumPy's and JAX's scalars too
    return number if math.isfinite(number) else None


def _drop_later_rows(path: Path, epoch: float | int | str) -> None:
    """Cut off what a run wrote after the checkpoint from which it goes on."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["epoch"] <= epoch]
    if len(kept) < len(lines):
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(b"".join(kept))
        part.replace(path)


def _drop_incomplete_line(path: Path) -> None:
    """Cut off what a killed run left half-written, lest the next line continue it."""
    if path.exists():
        content = path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            with path.open("r+b") as file:
                file.truncate(complete)
