"""Numbers are leaves, everything else is static; what is compiled serves all numbers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_jax.acting.exploration import BiLevel, Plain, Windowed
from amago_jax.learning.learner import AdamW
from amago_jax.tunable import changed, tunable
from compilations import compiled_programs
from small_agents import small_agent


@tunable("rate", "ends", "inner")
@dataclasses.dataclass(frozen=True)
class Part:
    rate: Any = 0.5
    ends: tuple[float, float] = (1.0, 0.0)
    inner: Any = None
    name: str = "part"
    on: bool = True

    def __post_init__(self):
        if isinstance(self.rate, float) and self.rate < 0:
            raise ValueError("rate")


@dataclasses.dataclass
class Unhashable:
    value: int


numbers = st.floats(0, 10, width=32)


@given(rate=numbers, ends=st.tuples(numbers, numbers), inner=numbers)
def test_a_part_survives_its_leaves(rate, ends, inner):
    part = Part(rate, ends, Part(inner))
    leaves, structure = jax.tree.flatten(part)
    assert leaves == [rate, *ends, inner, 1.0, 0.0]
    assert jax.tree.unflatten(structure, leaves) == part
    assert structure == jax.tree.structure(Part(inner=Part()))


def test_leaves_may_be_anything():
    part = Part(1.0, inner=Part())
    filled = jax.tree.map(lambda _: object(), part)
    assert jax.tree.structure(filled) == jax.tree.structure(part)
    assert jax.tree.map(lambda _, x: x, filled, part) == part


@pytest.mark.parametrize("other", [Part(name="b"), Part(on=False), Part(inner=Part()), Part(abs)])
def test_what_is_no_number_is_static(other):
    assert jax.tree.structure(other) != jax.tree.structure(Part())


def test_numbers_compile_nothing_and_all_else_does():
    @jax.jit
    def scaled(part, x):
        return part.rate * x if part.on else -x

    scaled(Part(), 2.0)
    with compiled_programs() as programs:
        assert float(scaled(Part(0.25), 2.0)) == 0.5
        assert programs == []
        assert float(scaled(Part(on=False), 2.0)) == -2.0
        assert len(programs) == 1


def test_checks_are_for_those_who_write_settings_not_for_tracers():
    with pytest.raises(ValueError, match="rate"):
        Part(-1.0)
    assert jax.jit(lambda part: changed(part, ends=(2.0, 3.0)).rate)(Part(0.25)) == 0.25
    assert jax.vmap(lambda part: part.rate * 2)(Part(jnp.arange(3.0), None)).tolist() == [0, 2, 4]


def test_what_cannot_be_hashed_is_the_same_as_itself_alone():
    one, two = Unhashable(1), Unhashable(1)
    structures = [jax.tree.structure(Part(name=part)) for part in (one, one, two)]
    assert structures[0] == structures[1] != structures[2]
    assert hash(structures[0]) == hash(structures[1])
    leaves, structure = jax.tree.flatten(Part(name=one))
    assert jax.tree.unflatten(structure, leaves).name is one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AdamW(), AdamW(1e-2, 0.5, 7, 3.0)),
        (BiLevel(9), BiLevel(9, 5, (0.5, 0.1), (0.3, 0.2))),
        (Plain(), Plain(5, (0.5, 0.1))),
        (Windowed(9), Windowed(9, 5, (0.5, 0.1))),
        (small_agent(), small_agent(tau=0.5, reward_multiplier=3.0, offline_coeff=2.0)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_is_often_swept_is_a_number(one, other):
    assert one != other
    assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AdamW(), AdamW(warmup_updates=None)),
        (AdamW(), AdamW(reset_interval=5)),
        (BiLevel(9), BiLevel(9, randomize=False)),
        (small_agent(), small_agent(n_step=2)),
        (small_agent(), small_agent(online_coeff=0.0)),
    ],
)
def test_what_makes_another_program_is_not(one, other):
    assert jax.tree.structure(one) != jax.tree.structure(other)


def test_an_optimizer_of_optax_is_static():
    # Its functions are its own, so that nothing tells two apart but their identity.
    one, two = optax.sgd(0.1), optax.sgd(0.1)
    structures = [jax.tree.structure(Part(optimizer)) for optimizer in (one, one, two)]
    assert structures[0] == structures[1] != structures[2]
