"""MLflow: a database on disk, or a server."""

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amago_jax.reports.finding import flatten
from amago_jax.runs.logging.base import Logger, Outcome, Row, RunInfo, numbers, require

STATES: dict[Outcome, str] = {
    "complete": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
LONGEST = 6000  # letters of a parameter's value


class MlflowLogger(Logger):
    """Logs to MLflow through its client, by the run's id: there is no active run of the process."""

    def __init__(
        self,
        experiment: str = "amago_jax",
        tracking_uri: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Choose where runs go and what they are called.

        Args:
            experiment: the experiment there.
            tracking_uri: a server, or a database such as ``sqlite:///runs/mlflow.db``; None: what
                ``MLFLOW_TRACKING_URI`` says, or ``mlflow.db`` here.
            name: of the run; None: the last parts of its folder.
            group: a tag of the run; None: runs side by side, or a sweep, have one.
            tags: others of the run.

        Raises:
            ValueError: if the package is missing.
        """
        require("mlflow", "mlflow")
        self._experiment, self._uri = experiment, tracking_uri
        self._name, self._group, self._tags = name, group, dict(tags or {})
        self._client: Any = None
        self._id = ""

    def start(self, info: RunInfo) -> str | None:
        """See `Logger`; parameters are those with which the run began, for MLflow changes none."""
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):  # which tell of every table that they make
            logging.getLogger(name).setLevel(logging.WARNING)
        client = self._client = MlflowClient(self._uri)
        if info.id is None:
            self._id = self._create(info)
        else:
            self._id = info.id
            client.update_run(self._id, status="RUNNING")
        client.log_dict(self._id, info.config, "config.yaml")
        return self._id

    def _create(self, info: RunInfo) -> str:
        from mlflow.entities import Param

        group = self._group or info.group
        tags = self._tags | ({} if group is None else {"group": group})
        run = self._client.create_run(
            self._find_experiment(), run_name=self._name or info.name, tags=tags
        )
        settings = flatten(info.config)
        params = [Param(_name(key), str(value)[:LONGEST]) for key, value in settings.items()]
        self._client.log_batch(run.info.run_id, params=params, synchronous=True)
        return str(run.info.run_id)

    def _find_experiment(self) -> str:
        """Return the experiment's id, made unless it is there."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return str(self._client.create_experiment(self._experiment))
            except MlflowException:  # another process was first
                found = self._client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return str(found.experiment_id)

    def log(self, row: Row, step: int) -> None:
        """See `Logger`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_name(key), value, now, step) for key, value in numbers(row).items()]
        self._client.log_batch(self._id, metrics=metrics, synchronous=True)

    def picture(self, name: str, path: Path, step: int) -> None:
        """See `Logger`."""
        self._client.log_artifact(self._id, str(path))

    def close(self, outcome: Outcome) -> None:
        """See `Logger`."""
        self._client.set_terminated(self._id, STATES[outcome])


def _name(name: str) -> str:
    """Leave out what MLflow takes in no name."""
    return re.sub(r"[^\w\-. /]", "_", name)
