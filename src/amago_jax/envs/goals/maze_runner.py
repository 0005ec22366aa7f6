"""MazeRunner: find goals in a random maze, in the order of an instruction, by what walls one sees.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), appendix C.4; mazes grow as in mazelab.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.axes import align
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.hindsight.instructions import GoalProtocol, Instruction, advance, begin
from amago_jax.settings import Size, checked
from amago_jax.types import Array

# West, north, east, south, stay: (row, column).
MOVES = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))
COMPLEXITY = DENSITY = 0.75
LEAST_SIDE, MOST_SIDE = 7, 201  # the spawn area takes four rows; ways between nodes are int8
BITS = 32  # of a word of cells
STARTED = np.int8(-128)  # a node that a wall began at, reached from nowhere


@dataclasses.dataclass(frozen=True)
class MazeGoals(GoalProtocol):
    """Goals are cells, int32 [row, column].

    Attributes:
        side: N, cells to a side of the maze.
    """

    side: int = 11

    def index(self, goals: Array) -> Array:
        """Number cells row by row."""
        return jnp.clip(goals[..., 0] * self.side + goals[..., 1], 0, self.side**2 - 1)


@struct.dataclass
class EnvState:
    """A maze and the agent in it.

    Attributes:
        rows: uint32 ``[N, W]``, the walls of each row, a bit for each cell.
        columns: uint32 ``[N, W]``, the walls of each column.
        position: int32 ``[2]``, row and column.
        instruction: cells to visit in order.
        moves: int32 ``[5]``, which of `MOVES` each action makes.
        time: int32 ``[]``, steps since the episode began.
    """

    rows: Array
    columns: Array
    position: Array
    instruction: Instruction
    moves: Array
    time: Array

    @property
    def walls(self) -> Array:
        """Bool ``[..., N, N]``."""
        side = self.rows.shape[-2]
        words = self.rows[..., None]
        bits = (words >> align(jnp.arange(BITS, dtype=jnp.uint32), words)) & 1
        return bits.reshape(*self.rows.shape[:-1], -1)[..., :side].astype(bool)


@struct.dataclass
class EnvParams:
    """How hard it is.

    Attributes:
        limit: steps of the longest episode; the timer is seen, so its end is part of the task.
    """

    limit: int = 250


class MazeRunner(environment.Environment[EnvState, EnvParams]):
    """A maze of odd side, with goals to visit in order."""

    def __init__(self, side: int, least_goals: int, goals: int, rewired: bool):
        """Fix the shapes.

        Args:
            side: N, odd.
            least_goals: in the shortest instruction.
            goals: k, in the longest.
            rewired: actions are permuted anew in every episode.
        """
        super().__init__()
        self.side, self.least_goals, self.goals = side, least_goals, goals
        self.rewired = rewired
        self.protocol = MazeGoals(goal_count=side**2, side=side)

    @property
    def default_params(self) -> EnvParams:
        """The limit of the paper's smallest maze."""
        return EnvParams()

    def reset_env(self, key: Array, params: EnvParams) -> tuple[dict[str, Array], EnvState]:
        """Grow a maze, and draw an instruction and the meaning of actions."""
        key_maze, key_cells, key_count, key_moves = jax.random.split(key, 4)
        walls = generate_maze(key_maze, self.side)
        start = jnp.array([self.side - 2, self.side // 2], jnp.int32)
        free = (~walls).at[start[0], start[1]].set(False).ravel()
        lots = jnp.where(free, jax.random.uniform(key_cells, free.shape), -1.0)
        cells = jax.lax.top_k(lots, self.goals)[1]
        count = jax.random.randint(key_count, (), self.least_goals, self.goals + 1)
        moves = jnp.arange(len(MOVES))
        if self.rewired:
            moves = jax.random.permutation(key_moves, moves)
        goals = jnp.stack([cells // self.side, cells % self.side], axis=-1).astype(jnp.int32)
        state = EnvState(
            rows=_pack(walls),
            columns=_pack(walls.T),
            position=start,
            instruction=begin(self.protocol, goals, count),
            moves=moves,
            time=jnp.int32(0),
        )
        return self.observe(state, params), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[dict[str, Array], EnvState, Array, Array, dict[Any, Any]]:
        """Move, unless there is a wall."""
        target = state.position + jnp.array(MOVES, jnp.int32)[state.moves[action]]
        word = state.rows[target[0], target[1] // BITS]
        blocked = (word >> (target[1] % BITS).astype(jnp.uint32)) & 1
        position = jnp.where(blocked == 1, state.position, target)
        instruction, reward = advance(self.protocol, state.instruction, position[None])
        state = dataclasses.replace(
            state, position=position, instruction=instruction, time=state.time + 1
        )
        done = self.is_terminated(state, params)
        return self.observe(state, params), state, reward, done, {}

    def observe(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Return what is seen, float32 ``[7]``, the instruction, and the cell as a goal.

        Seen: row and column, free cells to the west, north, east and south, all as shares of the
        side, and the share of the time that is gone.
        """
        row, column = state.position[0], state.position[1]
        west, east = _free_cells(state.rows[row], column)
        north, south = _free_cells(state.columns[column], row)
        cells = jnp.stack([row, column, west, north, east, south]) / self.side
        instruction = state.instruction
        return {
            "observation": jnp.append(cells, state.time / params.limit).astype(jnp.float32),
            "goals": self.protocol.show(instruction.goals, instruction.progress),
            "achieved": state.position[None],
        }

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the last goal is reached or the time is up."""
        return state.instruction.finished | (state.time >= params.limit)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: the time limit is part of the task."""
        return jnp.zeros((), bool)

    def episode_metrics(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Return how far the instruction was followed."""
        return state.instruction.metrics()

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw walls dark, goals in colours, the next one strongest, and the runner grey."""
        image = np.where(np.asarray(state.walls)[..., None], 40, 255).repeat(3, -1).astype(np.uint8)
        goals, progress = np.asarray(state.instruction.goals), int(state.instruction.progress)
        for index in reversed(range(progress, self.goals)):
            image[tuple(goals[index])] = (240, 60, 200) if index == progress else (250, 200, 90)
        image[tuple(np.asarray(state.position))] = (110, 110, 110)
        return image

    def describe(self, state: EnvState, params: EnvParams) -> str:
        """Say what is left of the instruction."""
        return state.instruction.describe()

    @property
    def name(self) -> str:
        """Environment name."""
        return f"MazeRunner-{self.side}x{self.side}-k{self.goals}"

    @property
    def num_actions(self) -> int:
        """Four moves, and to stay."""
        return len(MOVES)

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """Four moves, and to stay."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: EnvParams) -> spaces.Dict:
        """See `observe`."""
        cell = (-1, self.side - 1)
        return spaces.Dict(
            {
                "observation": spaces.Box(0.0, 1.0, (7,), jnp.float32),
                "goals": spaces.Box(*cell, (self.goals, 2), jnp.int32),
                "achieved": spaces.Box(*cell, (1, 2), jnp.int32),
            }
        )


def _pack(walls: Array) -> Array:
    """Pack lines of cells ``[N, N]`` into words, uint32 ``[N, W]``, the first cell lowest.

    A maze is carried from step to step, and looked up in each: words are a fraction of its cells.
    """
    side = walls.shape[0]
    words = -(-side // BITS)
    cells = jnp.pad(walls, ((0, 0), (0, words * BITS - side))).reshape(side, words, BITS)
    shifts = jnp.arange(BITS, dtype=jnp.uint32)[None, None]
    return (cells.astype(jnp.uint32) << shifts).sum(-1, jnp.uint32)


def _free_cells(words: Array, place: Array) -> tuple[Array, Array]:
    """Count the free cells before and after a place in a line of cells ``[W]``, up to a wall."""
    start = BITS * jnp.arange(words.shape[0])
    before = words & _lowest(place - start)
    after = words & ~_lowest(place + 1 - start)
    lowest_after = after & -after
    wall_before = jnp.where(before == 0, -1, start + _highest(before)).max()
    wall_after = jnp.where(after == 0, MOST_SIDE, start + _highest(lowest_after)).min()
    return place - wall_before - 1, wall_after - place - 1


def _lowest(count: Array) -> Array:
    """Return words whose lowest ``count`` bits are set, none below 0 and all above `BITS`."""
    # XLA shifts in zeros, so that a shift by all bits leaves nothing and 0 - 1 has all bits set.
    return (jnp.uint32(1) << jnp.clip(count, 0, BITS).astype(jnp.uint32)) - 1


def _highest(word: Array) -> Array:
    """Return the place of the highest bit set, int32; -1 if there is none."""
    return BITS - 1 - jax.lax.clz(word).astype(jnp.int32)


def generate_maze(key: Array, side: int) -> Array:
    """Grow a maze, with a way out of the spawn corridor at the bottom middle.

    Walls start at random even cells, here called nodes, and go on two cells at a time in random
    directions to nodes without a wall. So every node is reached once at most, and the way it was
    reached tells all walls: that takes a fourth of the time of drawing them at every step.

    Args:
        key: a random key.
        side: N, odd.

    Returns:
        Walls, bool ``[N, N]``.
    """
    nodes = side // 2 + 1  # to a side
    walks, length = int(DENSITY * (side // 2) ** 2), int(COMPLEXITY * 10 * side)
    key_starts, key_turns = jax.random.split(key)
    starts = jax.random.randint(key_starts, (walks,), 0, nodes**2)
    # A byte for each turn: random bits cost more than all else, and three ways of 86, 85 and 85
    # in 256 are even enough.
    words = jax.random.bits(key_turns, (walks, -(-length // 4)), jnp.uint32)
    turns = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(walks, -1)[:, :length]
    ways, counts = (jnp.asarray(table) for table in _ways(nodes))
    node = jnp.arange(nodes**2)

    def extend(carry: tuple[Array, Array], turn: Array) -> tuple[tuple[Array, Array], None]:
        reached, place = carry
        # One of the ways that stay inside, all alike often.
        way = ways[place, (turn * counts[place]) >> 8]
        target = place + way
        free = reached[target] == 0
        reached = jnp.where((node == target) & free, way.astype(jnp.int8), reached)
        return (reached, jnp.where(free, target, place)), None

    def walk(reached: Array, draws: tuple[Array, Array]) -> tuple[Array, None]:
        start, turns = draws
        reached = jnp.where((node == start) & (reached == 0), STARTED, reached)
        carry = (reached, start)
        return jax.lax.scan(extend, carry, turns.astype(jnp.int32))[0][0], None

    edge = (node % nodes) % (nodes - 1) == 0
    edge |= (node // nodes) % (nodes - 1) == 0
    reached, _ = jax.lax.scan(walk, jnp.where(edge, STARTED, 0).astype(jnp.int8), (starts, turns))
    reached = reached.reshape(nodes, nodes)
    outline = jnp.arange(side) % (side - 1) == 0
    walls = outline[:, None] | outline[None, :]
    walls = walls.at[::2, ::2].set(reached != 0)
    walls = walls.at[::2, 1::2].max((reached[:, 1:] == 1) | (reached[:, :-1] == -1))
    walls = walls.at[1::2, ::2].max((reached[1:] == nodes) | (reached[:-1] == -nodes))
    walls = walls.at[side - 5 : side - 1, 1:-1].set(False)
    for column in (side // 2 - 1, side // 2 + 1):
        walls = walls.at[side - 4 : side - 1, column].set(True)
    return walls


def _ways(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the ways from every node, as differences of indices ``[nodes², 4]``, and how many.

    Those that leave the grid are left out, and 0 fills the rows up.
    """
    ways = np.zeros((nodes**2, 4), np.int32)
    counts = np.zeros(nodes**2, np.int32)
    for node in range(nodes**2):
        row, column = divmod(node, nodes)
        inside = [
            (column > 0, -1),
            (column < nodes - 1, 1),
            (row > 0, -nodes),
            (row < nodes - 1, nodes),
        ]
        found = [way for stays, way in inside if stays]
        ways[node, : len(found)], counts[node] = found, len(found)
    return ways, counts


@checked
def make_maze_runner(
    *,
    side: Size = 11,
    goals: Size = 3,
    least_goals: Size | None = None,
    limit: Size = 250,
    rewired: bool = False,
) -> StreamEnv:
    """Make a MazeRunner.

    Args:
        side: N, cells to a side, odd.
        goals: k, in the longest instruction.
        least_goals: in the shortest instruction; None: all have k.
        limit: steps of the longest episode.
        rewired: actions are permuted anew in every episode.

    Raises:
        ValueError: if a setting is out of range.
    """
    least = goals if least_goals is None else least_goals
    if not LEAST_SIDE <= side <= MOST_SIDE or side % 2 == 0:
        raise ValueError(f"side={side!r} must be odd, from {LEAST_SIDE} to {MOST_SIDE}")
    if least > goals:
        raise ValueError(f"least_goals={least!r} must be at most goals={goals!r}")
    always_free = 4 * side - 15  # cells of the spawn area, but for the start
    if goals > always_free:
        raise ValueError(f"goals={goals!r} must be at most {always_free} for side={side}")
    env = MazeRunner(side, least, goals, rewired)
    params = EnvParams(limit=limit)
    return make_stream_env(
        "goals/maze_runner", env, params, horizon=limit, goals=env.protocol, expensive_reset=True
    )
