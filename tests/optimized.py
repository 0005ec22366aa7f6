"""Programs that run for long are worth compiling better than tests' programs are otherwise.

`make test` hardly optimizes them; where that is not so, XLA's own choice is the better one.
"""

import contextlib
import os

import jax
import pytest

from amago_jax.learning import programs

HARDLY = "--xla_backend_optimization_level=0" in os.environ.get("XLA_FLAGS", "")
WELL = {"xla_backend_optimization_level": 1} if HARDLY else {}


def jit(function, **arguments):
    """`jax.jit`, well optimized; to be called from the outermost level alone."""
    return jax.jit(function, compiler_options=WELL, **arguments)


@contextlib.contextmanager
def training():
    """Optimize what runs made inside train with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "OPTIONS", {"cpu": WELL})
        yield
