"""Trackio: a local database with a dashboard, ``trackio show``, or a Space of Hugging Face."""

import contextvars
from pathlib import Path
from typing import Any

from amago_jax.reports.finding import flatten
from amago_jax.runs.logging.base import Logger, Outcome, Row, RunInfo, numbers, require


class TrackioLogger(Logger):
    """Logs to Trackio through its own client, which writes and sends in a thread of its own."""

    def __init__(
        self,
        project: str = "amago_jax",
        name: str | None = None,
        group: str | None = None,
        space_id: str | None = None,
    ) -> None:
        """Choose where runs go and what they are called.

        Args:
            project: the project there.
            name: of the run; None: the last parts of its folder.
            group: of the run; None: runs side by side, or a sweep, are one.
            space_id: of Hugging Face, to log to; None: what ``TRACKIO_SPACE_ID`` says, or the
                database in ``TRACKIO_DIR``.

        Raises:
            ValueError: if the package is missing.
        """
        require("trackio", "trackio")
        self._project, self._space = project, space_id
        self._name, self._group = name, group
        self._run: Any = None

    def start(self, info: RunInfo) -> str | None:
        """See `Logger`; Trackio knows a run by its name, and the newest of that name goes on."""
        import trackio

        name = info.id or self._name or info.name
        settings: dict[str, Any] = {
            "project": self._project,
            "name": name,
            "group": self._group or info.group,
            "config": flatten(info.config),
            "space_id": self._space,
            "resume": "never" if info.id is None else "allow",
            "embed": False,
        }
        # In a context that knows of no run, for Trackio ends the one it knows.
        self._run = contextvars.Context().run(lambda: trackio.init(**settings))
        return name

    def log(self, row: Row, step: int) -> None:
        """See `Logger`."""
        self._run.log(numbers(row), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """See `Logger`."""
        import trackio

        self._run.log({name: trackio.Image(str(path))}, step=step)

    def close(self, outcome: Outcome) -> None:
        """See `Logger`; Trackio knows nothing of how runs end."""
        self._run.finish()
