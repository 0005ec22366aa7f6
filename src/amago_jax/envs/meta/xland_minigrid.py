"""XLand-MiniGrid meta-episodes: find out by trial what a grid's hidden rules are.

A task is a ruleset: what must be brought about, and which objects turn into which others. Each
attempt begins with the ruleset's objects at other places.

Source: Nikulin et al. 2023, "XLand-MiniGrid" (arXiv 2312.12044); AMAGO-2 (Grigsby et al. 2024,
arXiv 2411.11188), whose observations these are.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from xminigrid.benchmarks import Benchmark
from xminigrid.types import RuleSet

from amago_jax.envs.adapters.xland_rulesets import (
    GOAL_LENGTH,
    DifficultyName,
    generate_rulesets,
    load_rulesets,
    split_rulesets,
)
from amago_jax.envs.adapters.xminigrid import CODES, XMiniGrid, make
from amago_jax.envs.codes import Codes
from amago_jax.envs.meta.meta_episode import make_meta_env
from amago_jax.envs.stream import StreamEnv
from amago_jax.kinds import Whole
from amago_jax.settings import Name, Seed, Size, checked
from amago_jax.types import Array

TEST_SHARE = 0.2  # of rulesets, as AMAGO-2 has it


class XLandMiniGrid:
    """A grid whose rules and goal are the task, see `amago_jax.envs.meta.meta_episode`.

    Observations by key: ``grid`` uint8 ``[V, V, 2]``, objects and colours before the player;
    ``direction`` float32 ``[4]``, one-hot; and if it is shown ``goal`` uint8 ``[5]``, the suite's
    encoding. Rules are never shown.
    """

    def __init__(self, env: XMiniGrid, rulesets: Benchmark, show_goal: bool):
        """Play the suite's environment by one of the rulesets."""
        self.env, self.rulesets, self.show_goal = env, rulesets, show_goal
        self.name = env.name

    def draw_task(self, key: Array, params: Any) -> RuleSet:
        """Draw a ruleset."""
        return self.rulesets.sample_ruleset(key)

    def begin_attempt(self, key: Array, task: RuleSet, params: Any) -> tuple[dict[str, Array], Any]:
        """Put the player and the ruleset's objects at random places."""
        _, state = self.env.reset_env(key, params.replace(ruleset=task))
        return self._seen(state), state

    def step_env(
        self, key: Array, state: Any, action: Any, params: Any
    ) -> tuple[dict[str, Array], Any, Array, Array, dict[Any, Any]]:
        """Act; the attempt terminates with the goal, and pays the more the sooner."""
        _, state, reward, terminated, info = self.env.step_env(key, state, action, params)
        return self._seen(state), state, reward, terminated, info

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the attempt's time is up."""
        return self.env.is_truncated(state, params)

    def action_space(self, params: Any) -> spaces.Discrete:
        """Forward, right, left, pick up, put down, toggle."""
        return self.env.action_space(params)

    def observation_space(self, params: Any) -> spaces.Dict:
        """What is seen, by key."""
        space = {
            "grid": self.env.observation_space(params),
            "direction": spaces.Box(0.0, 1.0, (4,), jnp.float32),
        }
        if self.show_goal:
            space["goal"] = Codes(CODES, (GOAL_LENGTH,), jnp.uint8)
        return spaces.Dict(space)

    def _seen(self, state: Any) -> dict[str, Array]:
        inner = state.state
        seen = {
            "grid": state.observation,
            "direction": jax.nn.one_hot(inner.agent.direction, 4),
        }
        if self.show_goal:
            seen["goal"] = inner.goal_encoding
        return seen


@checked
def make_xland_minigrid(
    *,
    attempts: Size | None = 15,
    budget: Size | None = None,
    layout: Name = "XLand-MiniGrid-R1-9x9",
    difficulty: DifficultyName = "small",
    rulesets: Annotated[int, Whole(5)] | Name = 4000,
    split: Literal["train", "test"] = "train",
    split_seed: Seed = 0,
    max_steps: Size | None = None,
    show_goal: bool = True,
) -> StreamEnv:
    """Make XLand-MiniGrid meta-episodes.

    Args:
        attempts: k, at one ruleset; published are 15 and 25; or
        budget: steps of a meta-episode.
        layout: rooms and size, the suite's id of an XLand environment.
        difficulty: of generated rulesets: trivial, small, medium, high, after the suite's own
            benchmarks. Those of a file are what they are.
        rulesets: how many to generate, train and test together; or the path of a benchmark file
            of the suite.
        split: "train" or "test"; no ruleset is in both.
        split_seed: by which rulesets are generated and split.
        max_steps: of an attempt; None for the suite's three times the number of cells.
        show_goal: show the goal, but never the rules.

    Raises:
        ValueError: if a setting is out of range, or the file is no benchmark.
    """
    if not layout.startswith("XLand"):
        raise ValueError(f"layout={layout!r} must be an XLand environment: the others fix a goal")
    if isinstance(rulesets, str):
        drawn = load_rulesets(rulesets)
    else:
        drawn = generate_rulesets(difficulty, rulesets, split_seed)
    env, params = make(layout, None if max_steps is None else {"max_steps": max_steps})
    chosen = split_rulesets(drawn, TEST_SHARE, split_seed)[split]
    return make_meta_env(
        "meta/xland_minigrid",
        XLandMiniGrid(env, chosen, show_goal),
        params,
        attempts=attempts,
        budget=budget,
        attempt_limit=params.max_steps,
        expensive_reset=True,
    )
