"""T-Maze: remember, at the end of a corridor, what was shown at its beginning.

::

                              (junction, 1)
    oracle ── ... corridor ── junction
                              (junction, -1)

Source: Ni et al. 2023, "When Do Transformers Shine in RL?" (arXiv 2307.03864) and its code,
twni2016/Memory-RL, but for the penalty: as in AMAGO's code, of the action, not of falling behind.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.kinds import Listed, Real
from amago_jax.settings import Size, checked
from amago_jax.types import Array

Lengths = Annotated[tuple[Size, ...], Listed(least=1)]

RIGHT, UP, LEFT, DOWN = range(4)
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))


@struct.dataclass
class EnvState:
    """Where the agent is; all leaves ``[]``.

    Attributes:
        x: int32, cells from the oracle.
        y: int32, -1 and 1 in the arms, else 0.
        goal: int32, the arm that pays, -1 or 1.
        oracle_seen: bool, the oracle was visited before this timestep, and shows nothing any more.
        time: int32, steps since the episode began.
        corridor_length: int32, of this episode; None where all are equally long.
    """

    x: Array
    y: Array
    goal: Array
    oracle_seen: Array
    time: Array
    corridor_length: Array | None = None


@struct.dataclass
class EnvParams:
    """How hard it is.

    Attributes:
        corridor_length: N, cells from the start to the junction.
        penalty: reward of a step that is not to the right.
    """

    corridor_length: int = 30
    penalty: float = -1.0 / 30


class TMaze(environment.Environment[EnvState, EnvParams]):
    """A corridor with an oracle at one end and two arms at the other, one of which pays."""

    def __init__(self, active: bool = False, corridor_lengths: Sequence[int] | None = None):
        """Start on the oracle, or if active one cell right of it: then it must be visited.

        Args:
            active: start beside the oracle.
            corridor_lengths: each episode draws one; None: all are as long as the parameters say.
        """
        super().__init__()
        self.start = 1 if active else 0
        self.corridor_lengths = corridor_lengths

    @property
    def default_params(self) -> EnvParams:
        """A corridor of 30 cells."""
        return EnvParams()

    def episode_length(self, corridor_length: Any) -> Any:
        """Return the steps of an episode: just enough to see the oracle and enter an arm."""
        return corridor_length + 2 * self.start + 1

    def reset_env(self, key: Array, params: EnvParams) -> tuple[Array, EnvState]:
        """Draw the arm that pays, and how long the corridor is."""
        drawn = None
        if self.corridor_lengths is not None:
            lengths = jnp.array(self.corridor_lengths, jnp.int32)
            drawn = jax.random.choice(jax.random.fold_in(key, 1), lengths)
        state = EnvState(
            x=jnp.int32(self.start),
            y=jnp.int32(0),
            goal=jnp.where(jax.random.bernoulli(key), 1, -1).astype(jnp.int32),
            oracle_seen=jnp.zeros((), bool),
            time=jnp.int32(0),
            corridor_length=drawn,
        )
        return self.observe(key, state, None, params), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Move, unless there is a wall."""
        dx, dy = jnp.array(_MOVES, jnp.int32)[action]
        junction = self._junction(state, params)
        state = EnvState(
            x=jnp.where(state.y == 0, jnp.clip(state.x + dx, 0, junction), state.x),
            y=jnp.where(state.x == junction, jnp.clip(state.y + dy, -1, 1), state.y),
            goal=state.goal,
            oracle_seen=state.oracle_seen | (state.x == 0),
            time=state.time + 1,
            corridor_length=state.corridor_length,
        )
        done = self.is_terminated(state, params)
        # The active maze forgives its first step: it should be the one back to the oracle.
        fined = (action != RIGHT) & (state.time > self.start)
        reward = jnp.where(done, state.y == state.goal, fined * params.penalty)
        return self.observe(key, state, action, params), state, reward, done, {}

    def observe(self, key: Array, state: EnvState, action: Any, params: EnvParams) -> Array:
        """Return the ambiguous position, float32 ``[2]``: [at the junction or in an arm, sign].

        The sign is the arm one is in, or on the first visit to the oracle the arm that pays.
        """
        at_junction = state.x == self._junction(state, params)
        shown = jnp.where((state.x == 0) & ~state.oracle_seen, state.goal, 0)
        return jnp.stack([at_junction, jnp.where(at_junction, state.y, shown)]).astype(jnp.float32)

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the steps are used up, which is part of the task."""
        return state.time >= self.episode_length(self._corridor_length(state, params))

    def _corridor_length(self, state: EnvState, params: EnvParams) -> Any:
        drawn = state.corridor_length
        return params.corridor_length if drawn is None else drawn

    def _junction(self, state: EnvState, params: EnvParams) -> Any:
        return self.start + self._corridor_length(state, params)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: there is no time limit but the task's own."""
        return jnp.zeros((), bool)

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw the maze: the oracle blue, the arm that pays pink, walls white, the agent dark."""
        junction = int(self._junction(state, params))
        image = np.full((3, junction + 1, 3), 255, np.uint8)
        image[1] = image[:, junction] = (200, 200, 200)
        image[1, 0] = (90, 140, 250)
        image[1 - int(state.goal), junction] = (240, 60, 200)
        image[1 - int(state.y), int(state.x)] = (60, 60, 60)
        return image

    def describe(self, state: EnvState, params: EnvParams) -> str:
        """Say what the oracle tells."""
        return f"the {'upper' if int(state.goal) == 1 else 'lower'} arm pays"

    @property
    def name(self) -> str:
        """Environment name."""
        return f"TMaze-{'active' if self.start else 'passive'}"

    @property
    def num_actions(self) -> int:
        """Right, up, left, down."""
        return len(_MOVES)

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """Right, up, left, down."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """The ambiguous position."""
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)


@checked
def make_tmaze(
    active: bool,
    /,
    *,
    corridor_length: Size = 30,
    corridor_lengths: Lengths | None = None,
    penalty: Annotated[float, Real(high=0)] | None = None,
) -> StreamEnv:
    """Make a T-Maze; the best return is 1, and 0.5 without memory.

    Args:
        active: start beside the oracle, not on it.
        corridor_length: N, cells from the start to the junction.
        corridor_lengths: each episode draws one of them in place of N.
        penalty: reward of a step that is not to the right, at most 0; None for -1/N, where N is
            the longest.

    Returns:
        The environment, with episodes of N + 1 steps, or N + 3 if active.

    Raises:
        ValueError: if a setting is out of range.
    """
    longest = corridor_length if corridor_lengths is None else max(corridor_lengths)
    if penalty is None:
        penalty = -1.0 / longest
    env = TMaze(active, corridor_lengths)
    params = EnvParams(corridor_length=corridor_length, penalty=penalty)
    name = f"tmaze/{'active' if active else 'passive'}"
    return make_stream_env(name, env, params, horizon=env.episode_length(longest))
