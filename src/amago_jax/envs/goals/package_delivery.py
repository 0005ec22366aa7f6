"""Package delivery: learn by trial where a road turns and how to drop packages, and deliver them.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), appendix C.3.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.hindsight.instructions import GoalProtocol, Instruction, advance, begin
from amago_jax.kinds import Whole
from amago_jax.settings import Size, checked
from amago_jax.types import Array

FORWARD, LEFT, RIGHT, FIRST_DROP, WAIT = 0, 1, 2, 3, 7
DROPS = WAIT - FIRST_DROP
TRIES = 3  # packages carried for each one to deliver
FORK_EVERY = 5  # at most one fork to so many places, at least half as many


@dataclasses.dataclass(frozen=True)
class AddressGoals(GoalProtocol):
    """Goals are places where a package was dropped, int32 [place]."""

    def index(self, goals: Array) -> Array:
        """Number places from the start."""
        return jnp.maximum(goals[..., 0], 0)


@struct.dataclass
class EnvState:
    """A road and the courier on it.

    Attributes:
        place: int32 ``[]``, 0 at the start.
        is_fork: bool ``[length]``.
        turn: int32 ``[length]``, the right action at a fork, LEFT or RIGHT.
        drop: int32 ``[]``, the action that drops a package.
        packages: int32 ``[]``, left to drop.
        instruction: places to deliver to.
        time: int32 ``[]``, steps since the episode began.
    """

    place: Array
    is_fork: Array
    turn: Array
    drop: Array
    packages: Array
    instruction: Instruction
    time: Array


@struct.dataclass
class EnvParams:
    """How hard it is.

    Attributes:
        limit: steps of the longest episode; the timer is not seen, so it only truncates.
    """

    limit: int = 180


class PackageDelivery(environment.Environment[EnvState, EnvParams]):
    """A road with forks, and packages to deliver in order."""

    def __init__(self, length: int, least_packages: int, packages: int):
        """Fix the shapes.

        Args:
            length: places of the road, which closes in a ring.
            least_packages: to deliver at least.
            packages: k, to deliver at most.
        """
        super().__init__()
        self.length, self.least_packages, self.packages = length, least_packages, packages
        self.protocol = AddressGoals(goal_count=length)

    @property
    def default_params(self) -> EnvParams:
        """The paper's limit."""
        return EnvParams()

    def reset_env(self, key: Array, params: EnvParams) -> tuple[dict[str, Array], EnvState]:
        """Draw forks and their right turns, the drop action, and addresses beside the forks."""
        key_forks, key_count, key_turns, key_drop, key_places, key_packages = jax.random.split(
            key, 6
        )
        most = self.length // FORK_EVERY
        count = jax.random.randint(key_count, (), most // 2, most + 1)
        rank = jnp.argsort(jax.random.permutation(key_forks, self.length - 1))
        is_fork = jnp.append(False, rank < count)
        lots = jax.random.uniform(key_places, (self.length,))
        lots = jnp.where(is_fork.at[0].set(True), -1.0, lots)
        addresses = jax.lax.top_k(lots, self.packages)[1]
        packages = jax.random.randint(key_packages, (), self.least_packages, self.packages + 1)
        # In the order of the road; the unused ones come first and are hidden.
        unused = jnp.arange(self.packages) < self.packages - packages
        addresses = jnp.sort(jnp.where(unused, -1, addresses)).astype(jnp.int32)
        state = EnvState(
            place=jnp.int32(0),
            is_fork=is_fork,
            turn=jax.random.randint(key_turns, (self.length,), LEFT, RIGHT + 1),
            drop=jax.random.randint(key_drop, (), FIRST_DROP, FIRST_DROP + DROPS),
            packages=TRIES * packages,
            instruction=begin(self.protocol, addresses[:, None], packages),
            time=jnp.int32(0),
        )
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[dict[str, Array], EnvState, Array, Array, dict[Any, Any]]:
        """Go on, turn, or drop a package; a mistake sends back to the start."""
        at_fork = state.is_fork[state.place]
        turning = (action == LEFT) | (action == RIGHT)
        dropping = (action >= FIRST_DROP) & (action < FIRST_DROP + DROPS) & ~at_fork
        right_turn = at_fork & turning & (action == state.turn[state.place])
        wrong_turn = at_fork & turning & ~right_turn
        dropped = dropping & (action == state.drop) & (state.packages > 0) & (state.place > 0)
        ahead = right_turn | (~at_fork & (action == FORWARD))
        back = wrong_turn | (dropping & ~dropped)
        achieved = jnp.where(dropped, state.place, -1)[None, None]
        instruction, reward = advance(self.protocol, state.instruction, achieved)
        state = dataclasses.replace(
            state,
            place=jnp.where(back, 0, (state.place + ahead) % self.length),
            packages=state.packages - dropped,
            instruction=instruction,
            time=state.time + 1,
        )
        done = self.is_terminated(state, params)
        return self.observe(state, achieved), state, reward, done, {}

    def observe(self, state: EnvState, achieved: Array | None = None) -> dict[str, Array]:
        """Return [place, packages left, at a fork], float32 ``[3]``, and the goals."""
        seen = jnp.stack([state.place, state.packages, state.is_fork[state.place]])
        instruction = state.instruction
        return {
            "observation": seen.astype(jnp.float32),
            "goals": self.protocol.show(instruction.goals, instruction.progress),
            "achieved": jnp.full((1, 1), -1, jnp.int32) if achieved is None else achieved,
        }

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the last package is delivered."""
        return state.instruction.finished

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the time is up."""
        return state.time >= params.limit

    def episode_metrics(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Return how far the instruction was followed."""
        return state.instruction.metrics()

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw the road: forks blue, addresses in colours, the courier grey below it."""
        image = np.full((3, self.length, 3), 255, np.uint8)
        image[1] = np.where(np.asarray(state.is_fork)[:, None], (90, 140, 250), (200, 200, 200))
        goals, progress = np.asarray(state.instruction.goals), int(state.instruction.progress)
        for index in reversed(range(progress, self.packages)):
            color = (240, 60, 200) if index == progress else (250, 200, 90)
            image[0, goals[index, 0]] = color
        image[2, int(state.place)] = (110, 110, 110)
        return image

    def describe(self, state: EnvState, params: EnvParams) -> str:
        """Say what is left of the instruction, and of the packages."""
        return f"{state.instruction.describe()}; {int(state.packages)} packages"

    @property
    def name(self) -> str:
        """Environment name."""
        return f"PackageDelivery-{self.length}-k{self.packages}"

    @property
    def num_actions(self) -> int:
        """Forward, left, right, four ways to drop, and to wait."""
        return WAIT + 1

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """Forward, left, right, four ways to drop, and to wait."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: EnvParams) -> spaces.Dict:
        """See `observe`."""
        place = (-1, self.length - 1)
        most = max(self.length - 1, TRIES * self.packages)
        return spaces.Dict(
            {
                "observation": spaces.Box(0.0, most, (3,), jnp.float32),
                "goals": spaces.Box(*place, (self.packages, 1), jnp.int32),
                "achieved": spaces.Box(*place, (1, 1), jnp.int32),
            }
        )


@checked
def make_package_delivery(
    *,
    length: Size = 30,
    packages: Annotated[int, Whole(1, 1000)] = 4,
    least_packages: Size = 2,
    limit: Size = 180,
) -> StreamEnv:
    """Make a package delivery.

    Args:
        length: places of the road.
        packages: k, to deliver at most.
        least_packages: to deliver at least.
        limit: steps of the longest episode.

    Raises:
        ValueError: if a setting is out of range.
    """
    if least_packages > packages:
        raise ValueError(f"least_packages={least_packages!r} must be at most packages={packages!r}")
    shortest = next(n for n in range(2, 10**6) if n - 1 - n // FORK_EVERY >= packages)
    if length < shortest:
        raise ValueError(f"length={length!r} must be at least {shortest} for {packages} packages")
    env = PackageDelivery(length, least_packages, packages)
    params = EnvParams(limit=limit)
    return make_stream_env(
        "goals/package_delivery",
        env,
        params,
        horizon=limit,
        goals=env.protocol,
        expensive_reset=True,
    )
