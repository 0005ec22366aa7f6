"""Folders as runs leave them, without running anything."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_run(
    folder: Path,
    returns: Sequence[float | None],
    *,
    epochs: int | None = None,
    outcome: Mapping[str, Any] | None = None,
    scale: float = 1.0,
    every: int = 1,
    **config: Any,
) -> Path:
    """Write a run.

    Args:
        folder: to make.
        returns: of the evaluations, one for each epoch.
        epochs: its budget; None: what it did.
        outcome: of `outcome.json`; None: no such file.
        scale: steps, updates and seconds of an epoch, in tens, fives and ones.
        every: epochs without an evaluation come between those with one; their returns are unused.
        **config: settings; the environment is some/task unless given.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, float | None]] = [
        {
            "epoch": float(epoch),
            "epochs": float(epochs or len(returns)),
            "env_steps": 10.0 * scale * epoch,
            "updates": 5.0 * scale * epoch,
            "time/seconds": scale * epoch,
            **(_evaluation(value) if epoch % every == 0 else {}),
        }
        for epoch, value in enumerate(returns, 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"env": {"env_id": "some/task"}, "seed": 0, "run_dir": str(folder), **config}
    (folder / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    if outcome is not None:
        (folder / "outcome.json").write_text(json.dumps(outcome))
    return folder


def _evaluation(value: float | None) -> dict[str, float | None]:
    return {
        "evaluation/return": value,
        "evaluation/success/eat": None if value is None else value / 2,
        "evaluation/success/make": None,
    }
