"""Exploration in training rollouts: schedules of epsilon, and what epsilon does to an action.

A schedule is a pure function of how far training has come and how far the episode has. A rollout
multiplies it by a uniform number drawn once per episode if the schedule's ``randomize`` is on, so
that some episodes explore much and some hardly at all.

Source: AMAGO, section 3 and appendix ("exploration"); the windowed schedule is that of its
T-Maze experiments.
"""

import dataclasses
from typing import Annotated, Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.axes import align
from amago_jax.kinds import Whole
from amago_jax.models.distributions import ActionKind
from amago_jax.settings import Share, Size, check_fields
from amago_jax.tunable import tunable
from amago_jax.types import Array

Steps = Annotated[int, Whole(1, or_real=True)]  # Hydra reads 1e6 as a real number
Ends = tuple[Share, Share]  # at the start and at the end of annealing


class Schedule(Protocol):
    """What a rollout needs of a schedule."""

    @property
    def randomize(self) -> bool:
        """Multiply by a uniform number per episode."""
        ...

    def epsilon(self, steps: Array, time: Array) -> Array:
        """Return epsilon in [0, 1].

        Args:
            steps: int32, environment steps taken so far, per actor.
            time: int32, steps since the episode began; broadcast against ``steps``.
        """
        ...


def anneal(steps: Array, start: float, end: float, over: int) -> Array:
    """Go linearly from ``start`` to ``end`` in ``over`` steps, then stay."""
    share = jnp.clip(steps / over, 0.0, 1.0)
    return start + share * (end - start)


@tunable("anneal_steps", "start", "end")
@dataclasses.dataclass(frozen=True)
class BiLevel:
    """Falls with training and within each episode: late attempts exploit what early ones found.

    Attributes:
        horizon: steps over which epsilon falls within an episode.
        anneal_steps: environment steps per actor over which both ends anneal.
        start: epsilon of an episode's first step, at the start and end of annealing.
        end: epsilon ``horizon`` steps in, likewise.
        randomize: multiply by a uniform number per episode.

    Raises:
        ValueError: here and in the others, if a setting is not what its annotation says.
    """

    horizon: Size
    anneal_steps: Steps = 1_000_000
    start: Ends = (1.0, 0.05)
    end: Ends = (0.8, 0.01)
    randomize: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def epsilon(self, steps: Array, time: Array) -> Array:
        """See `Schedule.epsilon`."""
        early = anneal(steps, *self.start, self.anneal_steps)
        late = anneal(steps, *self.end, self.anneal_steps)
        within = jnp.clip(time / self.horizon, 0.0, 1.0)
        return align(early, within) + within * align(late - early, within)


@tunable("anneal_steps", "start")
@dataclasses.dataclass(frozen=True)
class Plain:
    """Falls with training alone.

    Attributes:
        anneal_steps: environment steps per actor over which epsilon anneals.
        start: epsilon at the start and end of annealing.
        randomize: multiply by a uniform number per episode.
    """

    anneal_steps: Steps = 1_000_000
    start: Ends = (1.0, 0.05)
    randomize: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def epsilon(self, steps: Array, time: Array) -> Array:
        """See `Schedule.epsilon`."""
        return anneal(steps, *self.start, self.anneal_steps) + jnp.zeros_like(time, jnp.float32)


@tunable("anneal_steps", "start")
@dataclasses.dataclass(frozen=True)
class Windowed:
    """Full epsilon in an episode's first step and last three, about half a random step between.

    Memory tasks whose choices lie at the two ends of a long corridor need exploration there, and
    a policy that otherwise walks straight on.

    Attributes:
        horizon: steps of an episode.
        anneal_steps: environment steps per actor over which the full epsilon anneals.
        start: the full epsilon at the start and end of annealing.
        randomize: multiply by a uniform number per episode.
    """

    horizon: Size
    anneal_steps: Steps = 100_000
    start: Ends = (1.0, 0.05)
    randomize: bool = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def epsilon(self, steps: Array, time: Array) -> Array:
        """See `Schedule.epsilon`."""
        full = anneal(steps, *self.start, self.anneal_steps)
        at_an_end = (time == 0) | (time >= self.horizon - 3)
        return jnp.where(at_an_end, full, 0.5 / self.horizon)


@struct.dataclass
class ExplorationDraws:
    """What exploration draws at random, for any leading axes ``[...]``.

    Drawn for a whole rollout at once: on a CPU, many small draws cost more than the policy.

    Attributes:
        scale: float32 ``[...]``, uniform: the factor on epsilon of an episode that begins here.
        chance: uniform: an action is replaced where it is below epsilon; float32 ``[...]``, or
            ``[..., A]`` if actions are binary, or None if they are continuous.
        replacement: discrete actions: int32 ``[...]``, uniformly random ones, or, if actions can be
            masked, float32 ``[..., A]``, a random ranking; binary: float32 ``[..., A]``, random
            flips; continuous: float32 ``[..., A]``, standard normal noise.
    """

    scale: Array
    chance: Any
    replacement: Array


def draw_exploration(
    key: Array, shape: tuple[int, ...], action_size: int, *, kind: ActionKind, masked: bool = False
) -> ExplorationDraws:
    """Draw for leading axes ``shape`` and A = ``action_size`` actions of a kind."""
    key_scale, key_chance, key_replacement = jax.random.split(key, 3)
    scale = jax.random.uniform(key_scale, shape)
    vectors = (*shape, action_size)
    if kind == "continuous":
        return ExplorationDraws(scale, None, jax.random.normal(key_replacement, vectors))
    if kind == "binary":
        flips = jax.random.bernoulli(key_replacement, 0.5, vectors).astype(jnp.float32)
        return ExplorationDraws(scale, jax.random.uniform(key_chance, vectors), flips)
    chance = jax.random.uniform(key_chance, shape)
    if masked:
        return ExplorationDraws(scale, chance, jax.random.uniform(key_replacement, vectors))
    random_actions = jax.random.randint(key_replacement, shape, 0, action_size)
    return ExplorationDraws(scale, chance, random_actions)


def explore(
    actions: Array, epsilon: Array, draws: ExplorationDraws, legal: Array | None = None
) -> Array:
    """Replace actions or flips with probability epsilon, or add noise of scale epsilon.

    Args:
        actions: int32 ``[...]``, or float32 ``[..., A]``.
        epsilon: float32 ``[...]``.
        draws: for the same leading axes.
        legal: bool ``[..., A]``, allowed discrete actions; None: all.

    Returns:
        Actions like ``actions``; continuous ones stay within ±1, discrete ones legal.
    """
    if draws.chance is None:
        return jnp.clip(actions + epsilon[..., None] * draws.replacement, -1.0, 1.0)
    replacement = draws.replacement
    if legal is not None:
        replacement = jnp.where(legal, replacement, -1.0).argmax(-1).astype(actions.dtype)
    threshold = epsilon.reshape(*epsilon.shape, *[1] * (draws.chance.ndim - epsilon.ndim))
    return jnp.where(draws.chance < threshold, replacement, actions)
