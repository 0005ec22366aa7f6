"""How a run ended: the file that it leaves behind, and its reader."""

import dataclasses
import json
from pathlib import Path
from typing import Literal, get_args

from amago_jax.errors import FileError, disk_reason

OUTCOME_FILE = "outcome.json"

Status = Literal["complete", "failed", "interrupted"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "complete"; "failed", by an error; "interrupted", by who ran it.
        reason: of a run that did not complete, why, in a sentence.
        metric: the number it was run for, if it is known.
    """

    status: Status
    reason: str | None = None
    metric: float | None = None


def read_outcome(folder: str | Path) -> Outcome | None:
    """Read how a run ended.

    Args:
        folder: the run's.

    Returns:
        The outcome; None of a run that still goes on, or was killed: there is no file.

    Raises:
        FileError: if there is a file and it says nothing of the kind, naming it.
    """
    path = Path(folder) / OUTCOME_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{path}: {disk_reason(error)}") from error
    except ValueError as error:  # malformed UTF-8
        raise FileError(f"{path}: not an outcome of a run: {error}") from error
    try:
        outcome = Outcome(**json.loads(text))
    except (TypeError, ValueError) as error:  # not JSON, no object, or of other keys
        raise FileError(f"{path}: not an outcome of a run: {error}") from error
    if outcome.status not in get_args(Status):
        raise FileError(f"{path}: status={outcome.status!r} is not one of {get_args(Status)}")
    return outcome
