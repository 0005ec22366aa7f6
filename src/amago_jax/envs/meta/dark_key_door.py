"""Dark key-to-door: find a hidden key, then a hidden door, and remember where they are.

Source: Laskin et al. 2022 (arXiv 2210.14215), appendix A; AMAGO (Grigsby, Fan, Zhu; ICLR 2024),
section 5.1.
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
from amago_jax.kinds import Whole
from amago_jax.settings import Size, checked
from amago_jax.types import Array

# Down, left, up, right, stay: (x, y).
MOVES = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))


@struct.dataclass
class Task:
    """A room.

    Attributes:
        start: int32 ``[2]``, where every attempt begins.
        key: int32 ``[2]``.
        door: int32 ``[2]``.
        moves: int32 ``[5]``, which of `MOVES` each action makes.
    """

    start: Array
    key: Array
    door: Array
    moves: Array


@struct.dataclass
class EnvState:
    """An attempt.

    Attributes:
        task: the room.
        position: int32 ``[2]``.
        has_key: bool ``[]``.
        opened: bool ``[]``, the door was reached with the key, which ends the attempt.
    """

    task: Task
    position: Array
    has_key: Array
    opened: Array


@struct.dataclass
class EnvParams:
    """How hard it is.

    Attributes:
        size: N, cells to a side of the room.
        shuffled_actions: permute the moves in every task.
    """

    size: int = 9
    shuffled_actions: bool = False


class DarkKeyDoor:
    """A room in which a key and then a door pay 1 each; any places may coincide.

    A key that lies where an attempt begins is picked up by the first step that ends there.
    """

    name = "DarkKeyDoor"

    def __init__(self, light: bool = False):
        """Hide the places of key and door, or if light show them."""
        self.light = light

    def draw_task(self, key: Array, params: EnvParams) -> Task:
        """Draw start, key and door uniformly and independently."""
        key_places, key_moves = jax.random.split(key)
        start, key_place, door = jax.random.randint(key_places, (3, 2), 0, params.size)
        in_order = jnp.arange(len(MOVES))
        shuffled = jax.random.permutation(key_moves, in_order)
        moves = jnp.where(params.shuffled_actions, shuffled, in_order)
        return Task(start=start, key=key_place, door=door, moves=moves)

    def begin_attempt(self, key: Array, task: Task, params: EnvParams) -> tuple[Array, EnvState]:
        """Go to the start."""
        no = jnp.zeros((), bool)
        state = EnvState(task=task, position=task.start, has_key=no, opened=no)
        return self.observe(state, params), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Move within the room, pick up the key, or open the door with it."""
        move = jnp.array(MOVES)[state.task.moves[action]]
        position = jnp.clip(state.position + move, 0, params.size - 1)
        opened = state.has_key & (position == state.task.door).all()
        found = ~state.has_key & (position == state.task.key).all()
        state = dataclasses.replace(
            state, position=position, has_key=state.has_key | found, opened=opened
        )
        reward = (found | opened).astype(jnp.float32)
        return self.observe(state, params), state, reward, opened, {}

    def observe(self, state: EnvState, params: EnvParams) -> Array:
        """Return [x/N, y/N, has key], float32 ``[3]``, and if light door and key over N."""
        task = state.task
        places = [state.position, task.door, task.key] if self.light else [state.position]
        first, *shown = [place / params.size for place in places]
        return jnp.concatenate([first, state.has_key[None], *shown]).astype(jnp.float32)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: the meta-episode limits attempts."""
        return jnp.zeros((), bool)

    def succeeded(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the door is open."""
        return state.opened

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw the door brown, the key yellow until it is picked up, and the agent dark."""
        image = np.full((params.size, params.size, 3), 230, np.uint8)
        image[tuple(state.task.door)] = (150, 90, 40)
        if not state.has_key:
            image[tuple(state.task.key)] = (250, 200, 50)
        image[tuple(state.position)] = (60, 60, 60)
        return image

    def action_space(self, params: EnvParams) -> spaces.Discrete:
        """Down, left, up, right and stay, unless shuffled."""
        return spaces.Discrete(len(MOVES))

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """See `observe`."""
        return spaces.Box(0.0, 1.0, (7 if self.light else 3,), jnp.float32)


@checked
def make_dark_key_door(
    *,
    size: Annotated[int, Whole(2, 1000)] = 9,
    light: bool = False,
    shuffled_actions: bool = False,
    attempts: Size | None = None,
    budget: Size | None = 500,
    attempt_limit: Size = 50,
    reset_step: bool = False,
) -> StreamEnv:
    """Make meta-episodes of dark key-to-door.

    An attempt lasts until the door is opened. Observed are ``observation``, see
    `DarkKeyDoor.observe`, and ``attempt``, see `amago_jax.envs.meta.meta_episode`: under a budget
    whether an attempt begins, and its time over its limit; under a number of attempts the share
    of them done stands in place of the time.

    Args:
        size: N, cells to a side of the room.
        light: show where key and door are.
        shuffled_actions: permute the moves in every task.
        attempts: k, after which a meta-episode ends; or
        budget: steps, after which a meta-episode ends.
        attempt_limit: steps after which an attempt ends.
        reset_step: the step after an attempt only resets, as in the original.

    Raises:
        ValueError: if a setting is out of range.
    """
    return make_meta_env(
        "meta/dark_key_door",
        DarkKeyDoor(light),
        EnvParams(size=size, shuffled_actions=shuffled_actions),
        attempts=attempts,
        budget=budget,
        attempt_limit=attempt_limit,
        reset_step=reset_step,
    )
