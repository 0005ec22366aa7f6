"""The loggers that a run's configuration names, built and called together."""

import contextlib
import json
import pydoc
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError, first_line
from amago_jax.reports.rows import METRICS_FILE, read_jsonl
from amago_jax.runs.directories import write_json
from amago_jax.runs.logging.base import STEP, Logger, Outcome, Row, RunInfo
from amago_jax.runs.logging.guarded import GuardedLogger

if TYPE_CHECKING:
    from amago_jax.runs.run import Run

KEPT_FILE = "loggers.json"  # in a run's folder: what each vendor knows the run by
PICTURES = ("curves", "success", "adaptation")
ID, ALL = "id", "has_all_rows"
METHODS = ("start", "log", "picture", "close")
PARTS_OF_NAME = 3


def build_loggers(config: DictConfig) -> dict[str, Logger]:
    """Build what the entries of ``logger`` describe that have a ``_target_``; opens nothing.

    Args:
        config: a training configuration.

    Returns:
        The loggers by the names of their entries.

    Raises:
        ConfigError: if a setting is unknown or impossible, or a package is missing.
    """
    entries: Any = OmegaConf.to_container(config.logger, resolve=True)
    return {name: _build(name, x) for name, x in entries.items() if isinstance(x, dict)}


def _build(name: str, settings: dict[str, Any]) -> Logger:
    given = dict(settings)
    target = given.pop("_target_", None)
    if target is None:
        raise ConfigError(
            f"logger.{name} has no _target_: choose logger={name}, or name a class with "
            f"+logger.{name}._target_=..."
        )
    kind = _import(f"logger.{name}", str(target))
    try:
        made: Logger = kind(**given)
    except Exception as error:  # whatever a class of the user's own raises; nothing has begun
        raise ConfigError(f"logger.{name}: {first_line(error)}") from error
    return made


def _import(entry: str, target: str) -> Any:
    """Return the class of an entry; nothing else is called than what can be a logger."""
    try:
        found = pydoc.locate(target)
    except Exception as error:
        raise ConfigError(f"{entry}._target_={target}: {first_line(error)}") from error
    if found is None:
        raise ConfigError(f"{entry}._target_={target} is nothing that Python can import")
    if not isinstance(found, type) or not all(hasattr(found, name) for name in METHODS):
        raise ConfigError(
            f"{entry}._target_={target} is no amago_jax.runs.logging.Logger: a class with "
            f"{', '.join(METHODS)}"
        )
    return found


class Loggers:
    """The loggers of one run: as a context, they are started and, however it ends, closed.

    None of them can end the run or hold it up. Where a run goes on, its rows since the checkpoint
    are trained again; those that come out as before are not given to loggers that have them.
    """

    def __init__(
        self,
        run: "Run",
        loggers: Mapping[str, Logger],
        tell: Callable[[str], None],
        *,
        group: str | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            run: whose metrics are logged.
            loggers: from `build_loggers`; none in a process that does not write.
            tell: shows a line.
            group: what runs side by side have in common; None: those of a sweep do.
        """
        self._run, self._tell, self._group = run, tell, group
        self._loggers = [GuardedLogger(name, one, tell) for name, one in loggers.items()]
        self._path = run.directory / KEPT_FILE
        self._kept: dict[str, dict[str, Any]] = {}
        self._have: set[str] = set()  # names of those that have all rows before
        self._before: dict[float, Row] = {}
        self._written = ""
        self._open = False

    def __enter__(self) -> Self:
        """Start them, before `JsonLinesLogger` drops the rows that are trained again."""
        if self._loggers and (self._run.rows or self._run.resumed_step is not None):
            self._before = _rows_after(self._run)
            self._kept = _read(self._path)
            self._have = {name for name, kept in self._kept.items() if kept[ALL]}
            for kept in self._kept.values():
                kept[ALL] = False  # of one that is left out this time
        self._open = True
        for logger in self._loggers:
            known = self._kept.get(logger.name, {}).get(ID)
            found = logger.start(self._info(known))
            self._kept[logger.name] = {ID: known if found is None else found, ALL: True}
        self._keep()
        return self

    def log(self, row: Row) -> None:
        """Log the metrics of one epoch."""
        again = _same(row, self._before.get(float(row["epoch"]), {}))
        for logger in self._loggers:
            rewinds = getattr(logger.logger, "rewinds", False)
            if rewinds or not (again and logger.name in self._have):
                logger.log(row, int(row[STEP]))
        self._keep()

    def pictures(self) -> None:
        """Log the pictures that `Run.plot` has drawn, which are of the last epoch."""
        for name in PICTURES:
            path = self._run.directory / f"{name}.png"
            if path.exists():
                for logger in self._loggers:
                    logger.picture(name, path, int(self._run.rows[-1][STEP]))

    def end(self, error: BaseException | None = None) -> None:
        """Close them, once.

        Args:
            error: what ended the run; None: it is complete.
        """
        if not self._open:
            return
        self._open = False
        outcome: Outcome = "complete"
        if error is not None:
            outcome = "failed" if isinstance(error, Exception) else "interrupted"
        for logger in self._loggers:
            logger.close(outcome)
        self._keep()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close them, whatever happened."""
        self.end(error)

    def _info(self, known: str | None) -> RunInfo:
        run = self._run
        settings: Any = OmegaConf.to_container(run.config, resolve=True)
        return RunInfo(
            name="/".join(run.directory.absolute().parts[-PARTS_OF_NAME:]),
            group=self._group or (settings.get("sweep") or {}).get("name"),
            folder=run.directory,
            config=settings,
            tell=self._tell,
            id=known,
            step=int(run.rows[-1][STEP]) if run.rows else None,
        )

    def _keep(self) -> None:
        """Write down what a run that goes on has to know, if that has changed."""
        for logger in self._loggers:
            self._kept[logger.name][ALL] = logger.check()
        text = json.dumps(self._kept)
        if self._loggers and text != self._written:
            with contextlib.suppress(OSError):  # a full disk ends runs elsewhere, and says so
                write_json(self._path, self._kept)
                self._written = text


def _read(path: Path) -> dict[str, Any]:
    """Return what `Loggers` kept; nothing where it is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and all(
            isinstance(one, dict) and one.keys() == {ID, ALL} for one in kept.values()
        ):
            return kept
    return {}


def _rows_after(run: "Run") -> dict[float, Row]:
    """Return, by epoch, the rows in the run's folder since the checkpoint it goes on from."""
    with contextlib.suppress(OSError, ValueError):
        rows = read_jsonl(run.directory / METRICS_FILE)
        return {row["epoch"]: row for row in rows if row["epoch"] >= run.next_epoch}
    return {}


def _same(row: Row, before: Row) -> bool:
    """Whether a row is the one before, but for times, and for how long the run is to be."""
    a, b = (
        {name: x for name, x in one.items() if not name.startswith(("time/", "epochs"))}
        for one in (row, before)
    )
    return a == b
