"""Weights & Biases: online, or offline into the run's folder, to be sent later."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from amago_jax.runs.logging.base import STEP, Logger, Outcome, Row, RunInfo, require

SECONDS_TO_FINISH = 60.0  # of sending what is left; what is not sent by then stays on disk
LONGEST_NAME = 128  # letters
EXIT_CODES: dict[Outcome, int] = {"complete": 0, "failed": 1, "interrupted": 75}


class WandbLogger(Logger):
    """Logs to Weights & Biases through its own client, which sends in a process of its own."""

    def __init__(
        self,
        project: str = "amago_jax",
        entity: str | None = None,
        mode: Literal["online", "offline", "disabled"] | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """Choose where runs go and what they are called.

        Args:
            project: the project there.
            entity: whose; None: the user's own.
            mode: "online", "offline" (``wandb sync`` sends it later) or "disabled"; None: what
                ``WANDB_MODE`` says, or online.
            name: of the run; None: the last parts of its folder.
            group: of the run; None: runs side by side, or a sweep, are one.
            tags: of the run.

        Raises:
            ValueError: if the package is missing.
        """
        require("wandb", "wandb")
        self._project, self._entity, self._mode = project, entity, mode
        self._name, self._group, self._tags = name, group, list(tags)
        self._run: Any = None

    def start(self, info: RunInfo) -> str | None:
        """See `Logger`; a run that goes on keeps its id there."""
        import wandb

        quiet = {"silent": True, "console": "off", "finish_timeout": SECONDS_TO_FINISH}
        mode = self._mode or wandb.setup(wandb.Settings(silent=True)).settings.mode
        if mode == "online" and not _logged_in():
            raise RuntimeError("nobody is logged in: call `wandb login`, or give mode=offline")
        run_id = info.id or secrets.token_hex(8)
        self._run = wandb.init(
            project=self._project,
            entity=self._entity,
            mode=mode,  # type: ignore[arg-type]
            name=(self._name or info.name)[-LONGEST_NAME:],
            group=self._group or info.group,
            tags=self._tags,
            dir=str(info.folder.absolute()),
            id=run_id,
            resume=None if info.id is None else "allow",
            config=info.config,
            allow_val_change=True,  # of a run that goes on with other settings
            reinit="create_new",  # several runs of one process do not end each other
            settings=wandb.Settings(**quiet),  # type: ignore[arg-type]
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        if mode == "online":
            info.tell(f"wandb: {self._run.url}")
        return run_id

    def log(self, row: Row, step: int) -> None:
        """See `Logger`."""
        self._run.log(dict(row))

    def picture(self, name: str, path: Path, step: int) -> None:
        """See `Logger`."""
        import wandb

        self._run.log({name: wandb.Image(str(path)), STEP: step})

    def close(self, outcome: Outcome) -> None:
        """See `Logger`; a run that can go on is marked as preempting."""
        if outcome == "interrupted":
            self._run.mark_preempting()
        self._run.finish(exit_code=EXIT_CODES[outcome])


def _logged_in() -> bool:
    """Whether there are credentials: W&B would ask on the terminal, where nobody may be."""
    import wandb

    return wandb.run is not None or wandb.login(prompt=False, verify=False)
