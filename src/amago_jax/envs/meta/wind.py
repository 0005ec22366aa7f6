"""Wind: a point must reach a known goal through a wind that is not seen.

Source: Ni et al. 2022 (arXiv 2110.05038), whose reward is 1 at every timestep inside the goal, and
whose episodes go on there; AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 5.1.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces

from amago_jax.envs.meta.meta_episode import make_meta_env
from amago_jax.envs.stream import StreamEnv
from amago_jax.kinds import Real
from amago_jax.settings import Positive, Size, checked
from amago_jax.types import Array

GOAL = (0.0, 1.0)
FASTEST = 0.1  # distance per step and axis
DRAWN_SIDE, DRAWN_FROM = 64, (-1.0, -0.5)  # pixels, and the corner of the 2 x 2 that is drawn


@struct.dataclass
class EnvState:
    """An attempt.

    Attributes:
        wind: float32 ``[2]``, the task: distance per step.
        position: float32 ``[2]``.
    """

    wind: Array
    position: Array


@struct.dataclass
class EnvParams:
    """How hard it is.

    Attributes:
        strongest_wind: per axis, in distance per step.
        goal_radius: distance from the goal's middle.
    """

    strongest_wind: float = 0.08
    goal_radius: float = 0.03


class Wind:
    """A point that starts at (0, 0), and a goal at (0, 1) that pays 1 at every timestep in it."""

    name = "Wind"

    def draw_task(self, key: Array, params: EnvParams) -> Array:
        """Draw the wind, float32 ``[2]``, uniformly per axis."""
        strongest = params.strongest_wind
        return jax.random.uniform(key, (2,), minval=-strongest, maxval=strongest)

    def begin_attempt(self, key: Array, task: Array, params: EnvParams) -> tuple[Array, EnvState]:
        """Go to the start."""
        state = EnvState(wind=task, position=jnp.zeros(2))
        return state.position, state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Move by the action and the wind; observed is the position, float32 ``[2]``."""
        move = jnp.clip(jnp.asarray(action), -FASTEST, FASTEST)
        state = dataclasses.replace(state, position=state.position + move + state.wind)
        distance = jnp.linalg.norm(state.position - jnp.array(GOAL))
        reward = (distance <= params.goal_radius).astype(jnp.float32)
        return state.position, state, reward, jnp.zeros((), bool), {}

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: the meta-episode limits attempts."""
        return jnp.zeros((), bool)

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw the goal green and the point dark, on a field of 2 x 2; it may leave that."""
        image = np.full((DRAWN_SIDE, DRAWN_SIDE, 3), 235, np.uint8)
        for place, color in ((GOAL, (60, 180, 90)), (state.position, (60, 60, 60))):
            x, y = (np.asarray(place) - DRAWN_FROM) / 2.0 * DRAWN_SIDE
            if 0 <= x < DRAWN_SIDE and 0 <= y < DRAWN_SIDE:
                image[DRAWN_SIDE - 1 - int(y), int(x)] = color
        return image

    def action_space(self, params: EnvParams) -> spaces.Box:
        """Distance along either axis."""
        return spaces.Box(-FASTEST, FASTEST, (2,), jnp.float32)

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """The position, anywhere on the plane."""
        return spaces.Box(-jnp.inf, jnp.inf, (2,), jnp.float32)


@checked
def make_wind(
    *,
    strongest_wind: Annotated[float, Real(0, below=FASTEST)] = 0.08,
    goal_radius: Positive = 0.03,
    attempts: Size | None = 1,
    budget: Size | None = None,
    attempt_limit: Size = 75,
) -> StreamEnv:
    """Make meta-episodes of Wind. An attempt counts as a success if it was ever in the goal.

    Observed are ``observation``, the position, and ``attempt``, whether an attempt begins and the
    share of attempts finished.

    Args:
        strongest_wind: per axis, in distance per step; must be less than the fastest move, 0.1.
        goal_radius: distance from the goal's middle.
        attempts: k, after which a meta-episode ends; or
        budget: steps, after which a meta-episode ends.
        attempt_limit: steps after which an attempt ends.

    Raises:
        ValueError: if a setting is out of range.
    """
    return make_meta_env(
        "meta/wind",
        Wind(),
        EnvParams(strongest_wind=strongest_wind, goal_radius=goal_radius),
        attempts=attempts,
        budget=budget,
        attempt_limit=attempt_limit,
        terminates=False,  # a time limit of ours, as in the authors' code
    )
