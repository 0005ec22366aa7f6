"""Crafter with instructions: Craftax-Classic, told what to collect, make, place, eat or go to.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 5.3 and appendix C.5; Crafter, Hafner 2021,
arXiv 2109.06780; Craftax, Matthews et al. 2024, arXiv 2402.16801.
"""

import dataclasses
import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from craftax.craftax_classic.constants import Achievement, BlockType
from craftax.craftax_classic.envs.craftax_state import EnvParams, StaticEnvParams
from craftax.craftax_classic.game_logic import craftax_step
from craftax.craftax_classic.renderer import make_craftax_pixel_renderer, render_craftax_symbolic
from craftax.craftax_classic.world_gen import generate_world
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.axes import align
from amago_jax.envs.codes import Codes
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.hindsight.instructions import GoalProtocol, Instruction, advance, begin
from amago_jax.kinds import Whole
from amago_jax.settings import Size, checked
from amago_jax.types import Array

# The world: 64x64 cells, of which 7x9 are in view.
SIDE, VIEW = 64, (7, 9)
MOBS = 4  # kinds: zombies, cows, skeletons, arrows
MAP_TOKENS = len(BlockType) + MOBS
STATUS = 24  # numbers of a symbolic observation beside the map
AGENT_PIXELS, DRAWN_PIXELS = 7, 64  # to a side of a cell

# Goals in words: "collect wood", "make stone pickaxe", "travel 10 35".
ACHIEVEMENTS = tuple(a.name.lower().replace("_", " ") for a in Achievement)
WAKE_UP = ACHIEVEMENTS.index("wake up")
WORDS = ("", "travel", *sorted({word for name in ACHIEVEMENTS for word in name.split()}))
TRAVEL = WORDS.index("travel")
GRID, NEAR = 5, 2.0  # one travels to multiples of 5, and is there within 2 cells
COORDINATES = 13  # 0, 5, ..., 60
FIRST_COORDINATE = len(WORDS)
VOCABULARY = FIRST_COORDINATE + COORDINATES
RARE = ("iron", "diamond")  # what the paper's agent hardly ever found

# How often each kind of goal is asked for, and what of it (the authors' shares).
KINDS = {"collect": 0.3, "defeat": 0.1, "eat": 0.1, "make": 0.15, "place": 0.15, "travel": 0.2}
SHARES = {
    "collect sapling": 0.2,
    "collect wood": 0.2,
    "collect stone": 0.18,
    "collect drink": 0.17,
    "collect coal": 0.1,
    "collect iron": 0.1,
    "collect diamond": 0.05,
    "defeat skeleton": 0.4,
    "defeat zombie": 0.6,
    "eat cow": 0.7,
    "eat plant": 0.3,
    "make iron pickaxe": 0.05,
    "make iron sword": 0.05,
    "make stone pickaxe": 0.15,
    "make stone sword": 0.15,
    "make wood pickaxe": 0.3,
    "make wood sword": 0.3,
    "place furnace": 0.1,
    "place plant": 0.2,
    "place stone": 0.3,
    "place table": 0.4,
}
FARTHEST = 44  # cells that one travels from the middle at most


def goal_table() -> tuple[np.ndarray, np.ndarray]:
    """Return every goal as three tokens, int32 ``[N, 3]``, and how often it is asked for."""
    goals, shares = [], []
    for achievement in ACHIEVEMENTS:
        words = [*achievement.split(), "", ""][:3]
        goals.append([WORDS.index(word) for word in words])
        shares.append(KINDS.get(words[0], 0.0) * SHARES.get(achievement, 0.0))
    places = np.stack(np.meshgrid(*[np.arange(COORDINATES)] * 2, indexing="ij"), -1).reshape(-1, 2)
    distances = np.linalg.norm(GRID * places - 32, axis=1)
    travel = np.zeros(len(places))
    for reach in range(1, FARTHEST + 1):
        # A reach is drawn, the shorter the likelier; then one of the farthest places within it.
        within = np.max(distances[distances <= reach], initial=distances.min())
        ring = np.abs(distances - within) < 1.0
        travel += (FARTHEST + 1 - reach) * ring / ring.sum()
    # Row and column.
    goals += [[TRAVEL, FIRST_COORDINATE + x, FIRST_COORDINATE + y] for x, y in places.tolist()]
    shares += (KINDS["travel"] * travel / travel.sum()).tolist()
    return np.array(goals, np.int32), np.array(shares)


GOALS, GOAL_SHARES = goal_table()


@dataclasses.dataclass(frozen=True)
class TokenGoals(GoalProtocol):
    """Goals are three tokens, int32 [verb, what, of what]; token 0 stands for none."""

    completed: float = 0
    goal_count: int | None = len(GOALS)

    def index(self, goals: Array) -> Array:
        """Number goals as `GOALS` lists them."""
        places = goals[..., 1:] - FIRST_COORDINATE
        travel = len(ACHIEVEMENTS) + COORDINATES * places[..., 0] + places[..., 1]
        goal = goals[..., None, :]
        equal = (goal == align(GOALS[: len(ACHIEVEMENTS)], goal)).all(-1)
        found = jnp.where(goals[..., 0] == TRAVEL, travel, equal.argmax(-1))
        return jnp.clip(found, 0, len(GOALS) - 1)


@struct.dataclass
class EnvState:
    """A world and what is wanted of the player.

    Attributes:
        world: Craftax-Classic's state; its achievements are those of the last step alone.
        instruction: goals to reach in order.
        unlocked: bool ``[22]``, achievements of this episode.
    """

    world: Any
    instruction: Instruction
    unlocked: Array


class Crafter(environment.Environment[EnvState, EnvParams]):
    """Craftax-Classic with instructions, or without them for Crafter's own rewards."""

    def __init__(
        self, view: Literal["symbolic", "pixels"], least_goals: int, goals: int, directed: bool
    ):
        """Fix the shapes.

        Args:
            view: what is seen.
            least_goals: in the shortest instruction.
            goals: k, in the longest.
            directed: pay for the instruction's goals; else for every first achievement.
        """
        super().__init__()
        self.view, self.least_goals, self.goals = view, least_goals, goals
        self.directed = directed
        self.protocol = TokenGoals()

    @property
    def default_params(self) -> EnvParams:
        """Craftax-Classic's."""
        return EnvParams()

    def reset_env(self, key: Array, params: EnvParams) -> tuple[dict[str, Array], EnvState]:
        """Make a world and draw an instruction."""
        key_world, key_instruction = jax.random.split(key)
        state = EnvState(
            world=generate_world(key_world, params, StaticEnvParams()),
            instruction=self.draw_instruction(key_instruction),
            unlocked=jnp.zeros(len(ACHIEVEMENTS), bool),
        )
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[dict[str, Array], EnvState, Array, Array, dict[Any, Any]]:
        """Act; what was achieved is whatever Craftax counts as an achievement, each time anew."""
        before = state.world.replace(achievements=jnp.zeros_like(state.world.achievements))
        world, _ = craftax_step(key, before, action, params, StaticEnvParams())
        unlocked = state.unlocked | world.achievements
        instruction, reward = advance(self.protocol, state.instruction, self.achieved(world))
        if not self.directed:
            first = unlocked.sum() - state.unlocked.sum()
            reward = first + 0.1 * (world.player_health - state.world.player_health)
        state = EnvState(world, instruction, unlocked)
        done = self.is_terminated(state, params)
        return self.observe(state), state, reward, done, {}

    def draw_instruction(self, key: Array) -> Instruction:
        """Draw goals by their shares, the same perhaps twice, and how many of them."""
        key_goals, key_count = jax.random.split(key)
        shares = jnp.asarray(GOAL_SHARES, jnp.float32)
        chosen = jax.random.choice(key_goals, len(GOALS), (self.goals,), p=shares)
        count = jax.random.randint(key_count, (), self.least_goals, self.goals + 1)
        return begin(self.protocol, jnp.asarray(GOALS)[chosen], count)

    def achieved(self, world: Any) -> Array:
        """Return the goals of the last step, int32 ``[3, 3]``: by acting, by waking, by going."""
        acted = jnp.asarray(world.achievements).at[WAKE_UP].set(False)
        by_acting = jnp.where(acted.any(), jnp.asarray(GOALS)[acted.argmax()], 0)
        by_waking = jnp.where(world.achievements[WAKE_UP], GOALS[WAKE_UP], 0)
        nearest = jnp.clip(jnp.round(world.player_position / GRID), 0, COORDINATES - 1)
        there = jnp.linalg.norm(world.player_position - GRID * nearest) < NEAR
        place = jnp.append(TRAVEL, FIRST_COORDINATE + nearest.astype(jnp.int32))
        return jnp.stack([by_acting, by_waking, jnp.where(there, place, 0)]).astype(jnp.int32)

    def observe(self, state: EnvState) -> dict[str, Array]:
        """Return what is seen and, if directed, the goals.

        Symbolic: ``map``, uint8 ``[7, 9]``, the block or the mob in every cell in view, and
        ``status``, float32 ``[24]``, inventory, needs, direction, light, sleep, row and column.
        Pixels: ``image``, uint8 ``[63, 63, 3]``, and ``position``, float32 ``[2]``, row and column.
        """
        instruction, world = state.instruction, state.world
        position = world.player_position.astype(jnp.float32) / SIDE
        if self.view == "pixels":
            image = _renderer(AGENT_PIXELS)(world).astype(jnp.uint8)
            seen = {"image": image, "position": position}
        else:
            symbols = render_craftax_symbolic(world)
            cells = symbols[: MAP_TOKENS * VIEW[0] * VIEW[1]].reshape(*VIEW, MAP_TOKENS)
            # A mob hides the block it stands on: its token is the greater one.
            tokens = jnp.max(jnp.where(cells > 0, jnp.arange(MAP_TOKENS), 0), axis=-1)
            status = jnp.append(symbols[cells.size :].astype(jnp.float32), position)
            seen = {"map": tokens.astype(jnp.uint8), "status": status}
        if not self.directed:
            return seen
        return {
            **seen,
            "goals": self.protocol.show(instruction.goals, instruction.progress),
            "achieved": self.achieved(world),
        }

    def is_terminated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the player is dead or, if directed, the last goal is reached."""
        world = state.world
        place = world.map[world.player_position[0], world.player_position[1]]
        dead = (world.player_health <= 0) | (place == BlockType.LAVA.value)
        return dead | (state.instruction.finished & self.directed)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the time is up; it is not seen, so the task does not end there."""
        return state.world.timestep >= params.max_timesteps

    def episode_metrics(self, state: EnvState, params: EnvParams) -> dict[str, Array]:
        """Return achievements by name, and success by kind of goal, where it was asked for."""
        names = [name.replace(" ", "_") for name in ACHIEVEMENTS]
        metrics = {
            f"unlocked/{name}": state.unlocked[i].astype(jnp.float32)
            for i, name in enumerate(names)
        }
        if not self.directed:
            return metrics
        instruction = state.instruction
        entry = jnp.arange(self.goals)
        asked, done = entry >= instruction.unused, entry < instruction.progress
        kinds = {verb: instruction.goals[:, 0] == WORDS.index(verb) for verb in KINDS}
        kinds |= {what: (instruction.goals == WORDS.index(what)).any(-1) for what in RARE}
        for kind, is_kind in kinds.items():
            count = (asked & is_kind).sum()
            reached = (asked & is_kind & done).sum() / jnp.maximum(count, 1)
            metrics[f"success/{kind}"] = jnp.where(count > 0, reached, jnp.nan)
        return metrics | instruction.metrics()

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw what the player sees, as Craftax does."""
        return np.asarray(_renderer(DRAWN_PIXELS)(state.world)).astype(np.uint8)

    def describe(self, state: EnvState, params: EnvParams) -> str:
        """Say what is left of the instruction, in words."""
        return state.instruction.describe(goal_words) if self.directed else ""

    @property
    def name(self) -> str:
        """Environment name."""
        return f"Crafter-{self.view}-k{self.goals}"

    @property
    def num_actions(self) -> int:
        """Craftax-Classic's actions."""
        return 17

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """Craftax-Classic's actions."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: EnvParams) -> spaces.Dict:
        """See `observe`."""
        if self.view == "pixels":
            pixels = (VIEW[1] * AGENT_PIXELS, VIEW[1] * AGENT_PIXELS, 3)  # with the inventory
            seen = {
                "image": spaces.Box(0, 255, pixels, jnp.uint8),
                "position": spaces.Box(0.0, 1.0, (2,), jnp.float32),
            }
        else:
            seen = {
                "map": Codes(MAP_TOKENS, VIEW, jnp.uint8),
                "status": spaces.Box(0.0, 1.0, (STATUS,), jnp.float32),
            }
        if self.directed:
            seen["goals"] = Codes(VOCABULARY, (self.goals, 3), jnp.int32)
            seen["achieved"] = Codes(VOCABULARY, (3, 3), jnp.int32)
        return spaces.Dict(seen)


@functools.cache
def _renderer(pixels: int) -> Any:
    """Return Craftax's own renderer; its textures are loaded now, even while something compiles."""
    with jax.ensure_compile_time_eval():
        return jax.jit(make_craftax_pixel_renderer(pixels))


def goal_words(goal: list[int]) -> str:
    """Return a goal ``[3]`` in words, for example "collect wood" or "travel 10 35"."""
    words = [
        str(GRID * (token - FIRST_COORDINATE)) if token >= FIRST_COORDINATE else WORDS[token]
        for token in goal
    ]
    return " ".join(word for word in words if word)


@checked
def make_crafter(
    view: Literal["symbolic", "pixels"],
    /,
    *,
    goals: Annotated[int, Whole(1, 1000)] = 5,
    least_goals: Size = 1,
    limit: Size = 5000,
    directed: bool = True,
) -> StreamEnv:
    """Make Crafter with instructions.

    Args:
        view: what is observed.
        goals: k, in the longest instruction.
        least_goals: in the shortest.
        limit: steps of the longest episode.
        directed: pay for the instruction's goals; else as Crafter does, for every first
            achievement and for health.

    Raises:
        ValueError: if a setting is out of range.
    """
    if least_goals > goals:
        raise ValueError(f"least_goals={least_goals!r} must be at most goals={goals!r}")
    name = "goals/crafter_pixels" if view == "pixels" else "goals/crafter"
    env = Crafter(view, least_goals, goals, directed)
    return make_stream_env(
        name,
        env,
        EnvParams(max_timesteps=limit),
        horizon=limit,
        goals=env.protocol if directed else None,
        expensive_reset=True,
    )


make_symbolic_crafter = functools.partial(make_crafter, "symbolic")
make_pixel_crafter = functools.partial(make_crafter, "pixels")
