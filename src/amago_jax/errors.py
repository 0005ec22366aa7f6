"""Every error a user can meet, and what their messages share.

A message names the setting, its value and what would work.
"""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """What a user can mend; the commands print the message alone, without a traceback.

    Attributes:
        exit_code: what the commands end with.
    """

    exit_code = 1


class ConfigError(UserError, ValueError):
    """A setting is unknown, malformed or impossible."""


@contextlib.contextmanager
def config_errors() -> Iterator[None]:
    """Raise `ConfigError` with the same message where anything inside raises ValueError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


class CheckpointError(UserError, ValueError):
    """A checkpoint cannot be written or read; the message names the path and what is wrong."""


class FileError(UserError, ValueError):
    """A file that a run left cannot be read; the message names it and what is wrong."""


class DamagedError(CheckpointError):
    """A checkpoint is not what was written; the one before may be."""


class InterruptionError(KeyboardInterrupt):
    """The process was asked to end, and has saved all there is; the run can go on later.

    No `Exception`, for whoever runs many, as launchers do, takes one for the failure of a run and
    goes on with the next.

    Attributes:
        exit_code: what the commands end with.
    """

    exit_code = 75  # of what may succeed another time, in sysexits.h


class TrainingError(UserError, RuntimeError):
    """Training cannot go on; what was saved before is intact."""


class InteropError(UserError, ValueError):
    """A file of weights cannot be read, or does not fit the agent."""


class MissingExtraError(ValueError):
    """An environment, or a logger, needs an extra of the package that is not installed."""


def how_to_install(extra: str) -> str:
    """Say what installs one of the package's extras, whether it came as a wheel or a checkout."""
    return f"pip install 'amago_jax[{extra}]'"


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known names are close to ``name``, and what there is to choose from."""
    known = sorted(known)
    hint = nearest(name, known)
    return f"{hint}{' ' * bool(hint)}choose from {', '.join(known) or 'none'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are close to ``name``; empty if none is."""
    close = difflib.get_close_matches(name, sorted(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; many libraries append pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def disk_reason(error: OSError) -> str:
    """Say what the disk, or what is on it, did not allow."""
    return error.strerror or first_line(error)
