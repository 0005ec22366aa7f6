"""The runs in a folder, whatever started them: each folder with a run's files is one."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.errors import FileError, first_line
from amago_jax.reports.outcomes import OUTCOME_FILE, read_outcome
from amago_jax.reports.rows import METRICS_FILE, Rows, read_jsonl
from amago_jax.reports.saved import read_settings

CONFIG_FILE = "config.yaml"
NO_RUNS_INSIDE = {"checkpoints", "__pycache__"}


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """What a run left in its folder.

    Attributes:
        folder: the run's.
        config: its settings by dotted name, such as "agent.tau"; empty if it has no config.yaml.
        rows: as logged, one per epoch.
        status: "complete"; "failed" or "interrupted", as its outcome says; "unfinished" without
            one: it goes on, or was killed; "unreadable".
        reason: why it failed, was interrupted or cannot be read.
    """

    folder: Path
    config: Mapping[str, Any]
    rows: Rows
    status: str
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the run is over, by its budget or because it had come to its goal."""
        return self.status == "complete"

    @property
    def stopped_early(self) -> bool:
        """Whether the run is over with epochs left, because it had come to its goal."""
        last = self.rows[-1] if self.rows else {}
        return self.ended and last.get("epoch", 0) < last.get("epochs", 0)

    @property
    def trouble(self) -> str:
        """Why the run says nothing, or less than it was to say, in words."""
        unread = self.rows or self.status == "unreadable"
        status = self.status if unread else f"{self.status}, without a row yet"
        reason = self.reason if self.config else self.reason or f"it has no {CONFIG_FILE}"
        return status if reason is None else f"{status}: {reason}"

    @property
    def silent(self) -> bool:
        """Whether the run says nothing at all, or nothing that can be relied on."""
        return not self.rows or self.status in ("failed", "unreadable")

    @property
    def seed(self) -> Any:
        """The run's seed."""
        return self.config.get("seed")


def find_runs(folders: Iterable[str | Path]) -> list[FoundRun]:
    """Find and read every run in some folders and below.

    Args:
        folders: to look in; a folder may be a run itself.

    Returns:
        The runs in the order of their folders, none twice. A folder that has a configuration, no
        metrics and other runs below belongs to those runs, and is none.
    """
    holding: dict[Path, None] = {}
    for top in folders:
        found = [Path(at) for at, _ in _walk(top)]
        for folder in sorted(found, key=_natural):
            above = any(folder in other.parents for other in found)
            if not above or (folder / METRICS_FILE).is_file():
                holding.setdefault(folder)
    return [_read(folder) for folder in holding]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name the settings of a nested configuration by dots, lists being values."""
    settings: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, Mapping)
        settings |= flatten(value, f"{name}.") if nested else {name: value}
    return settings


def _walk(top: str | Path) -> Iterable[tuple[str, list[str]]]:
    for at, inside, files in os.walk(top):
        hidden = {name for name in inside if name.startswith(".")}
        inside[:] = sorted(set(inside) - hidden - NO_RUNS_INSIDE)
        if {METRICS_FILE, CONFIG_FILE, OUTCOME_FILE} & set(files):
            yield at, files


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order names by the numbers in them: seed10 comes after seed9."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _read(folder: Path) -> FoundRun:
    """Read a run; whatever cannot be read is said, not raised."""
    config: dict[str, Any] = {}
    rows: Rows = []
    try:
        config = _read_config(folder / CONFIG_FILE)
        if (folder / METRICS_FILE).is_file():
            rows = read_jsonl(folder / METRICS_FILE)
        outcome = read_outcome(folder)
    except (OSError, ValueError) as error:
        return FoundRun(folder, config, rows, "unreadable", first_line(error))
    if outcome is not None:
        return FoundRun(folder, config, rows, outcome.status, outcome.reason)
    status = "complete" if _came_to_an_end(rows, config) else "unfinished"
    return FoundRun(folder, config, rows, status)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    saved = read_settings(path)
    try:
        config: Any = OmegaConf.to_container(saved, resolve=True)
    except OmegaConfBaseException as error:  # of settings that refer to none
        raise FileError(f"{path}: {first_line(error)}") from error
    return flatten({str(key): value for key, value in config.items()})


def _came_to_an_end(rows: Rows, config: Mapping[str, Any]) -> bool:
    """Say of a run without an outcome, as older runs are, whether it did all it was to do."""
    if not rows:
        return False
    epochs = rows[-1].get("epochs", config.get("epochs"))
    if epochs is not None and rows[-1].get("epoch", 0) >= epochs:
        return True
    goal, many = config.get("stop.return"), config.get("stop.evaluations") or 1
    values = [row["evaluation/return"] for row in rows if row.get("evaluation/return") is not None]
    return goal is not None and len(values) >= many and min(values[-many:]) >= goal
