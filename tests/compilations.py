"""How often XLA compiles."""

import contextlib
import logging
from collections.abc import Iterator

import jax


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.programs: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Finished XLA compilation"):
            self.programs.append(message)


@contextlib.contextmanager
def compiled_programs() -> Iterator[list[str]]:
    """Give a list that grows with every program compiled inside, as `jax.log_compiles` tells."""
    listener, logger = _Listener(), logging.getLogger("jax")
    logger.addHandler(listener)
    try:
        with jax.log_compiles():
            yield listener.programs
    finally:
        logger.removeHandler(listener)
