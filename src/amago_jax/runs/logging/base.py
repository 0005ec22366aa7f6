"""What loggers share: rows, what they are told of a run, and the protocol of those of vendors."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from amago_jax.errors import MissingExtraError, how_to_install

Row = Mapping[str, float | int | str]
"""Metrics of one epoch by name, such as ``loss/total``."""

Outcome = Literal["complete", "failed", "interrupted"]
"""How a run ended."""

STEP = "env_steps"  # of a row, the number that is every vendor's x axis


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a logger is told of the run that starts.

    Attributes:
        name: the last parts of the run's folder.
        group: what the run is one of: runs side by side, or a sweep; None: of nothing.
        folder: the run's.
        config: all settings, nested.
        tell: shows a line on the console.
        id: of a run that goes on, what `Logger.start` returned when it began; else None.
        step: environment steps of the last row before a run goes on; None of a new run.
    """

    name: str
    group: str | None
    folder: Path
    config: dict[str, Any]
    tell: Callable[[str], None]
    id: str | None = None
    step: int | None = None


class Logger(Protocol):
    """Where metrics, settings and pictures of one run go, besides the console and the run's folder.

    A class of this kind, named by ``_target_`` in an entry of ``logger``, is made with the other
    settings of that entry, and may raise ValueError about them; nothing may be opened yet. What
    its methods raise ends the logger, never the run. They are called in order in a thread of the
    logger's own: `log` and `picture` hold nothing up; `start` and `close` are waited for.

    Attributes:
        rewinds: whether a run that goes on drops by itself what was logged after `RunInfo.step`.
            To others, rows are not given again that they have already.
    """

    rewinds: bool = False

    def start(self, info: RunInfo) -> str | None:
        """Open what is logged to.

        Args:
            info: what there is to know of the run.

        Returns:
            What the vendor knows the run by, so that it can go on there; kept in its folder.
        """
        return None

    def log(self, row: Row, step: int) -> None:
        """Log the metrics of one epoch.

        Args:
            row: numbers by name, ``epoch`` and ``env_steps`` among them.
            step: environment steps so far: the x axis.
        """
        raise NotImplementedError

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture, in the place of the one of this name before.

        Args:
            name: such as ``curves``.
            path: a PNG.
            step: environment steps so far.
        """
        return

    def close(self, outcome: Outcome) -> None:
        """Finish, and say how the run ended."""
        return


def numbers(row: Row) -> dict[str, float]:
    """Return what of a row is a number."""
    return {name: float(value) for name, value in row.items() if not isinstance(value, str)}


def require(package: str, extra: str) -> None:
    """Check that a vendor's package is there, without the seconds of importing it.

    Args:
        package: its name in Python.
        extra: of this package, which installs it.

    Raises:
        MissingExtraError: if it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(f"{package} is not installed: {how_to_install(extra)}")
