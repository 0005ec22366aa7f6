"""Jumanji's environments, by id: puzzles, packing and routing.

Source: Bonnet et al. 2023, "Jumanji" (arXiv 2306.09884).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jumanji
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jumanji import specs

from amago_jax.axes import align
from amago_jax.envs.codes import Codes
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import Size, checked
from amago_jax.types import Array

MOST_ACTIONS = 4096  # that several choices make together
_NO_LIMIT = 1000  # steps, where neither the environment nor its rules set a limit
_NEVER = 2**31 - 1

# Steps after which an episode is over by the rules, where there is no time limit.
_STEPS: dict[str, Callable[[Any], int]] = {
    "BinPack": lambda suite: suite.action_spec.num_values[1],
    "CVRP": lambda suite: 2 * (suite.action_spec.num_values - 1),
    "GraphColoring": lambda suite: suite.action_spec.num_values,
    "Knapsack": lambda suite: suite.action_spec.num_values,
    "Minesweeper": lambda suite: suite.action_spec.num_values.prod(),
    "Sudoku": lambda suite: suite.action_spec.num_values[:2].prod(),
    "TSP": lambda suite: suite.action_spec.num_values,
}

# What of an observation names things: what a cell holds, a colour, a city.
_CODES: dict[str, tuple[str, ...]] = {
    "Cleaner": ("grid",),
    "CVRP": ("position", "trajectory"),
    "GraphColoring": ("colors", "current_node_index"),
    "Minesweeper": ("board",),
    "RubiksCube": ("cube",),
    "SlidingTilePuzzle": ("puzzle",),
    "Sokoban": ("grid",),
    "Sudoku": ("board",),
    "TSP": ("position", "trajectory"),
}

# Those that `make_jumanji` refuses, saying why.
_UNSUPPORTED = (
    "Connector-v3",
    "FlatPack-v0",
    "JobShop-v0",
    "LevelBasedForaging-v0",
    "MMST-v0",
    "MultiCVRP-v0",
    "SearchAndRescue-v0",
    "Sokoban-v0",
)


@struct.dataclass
class EnvState:
    """Where an environment of Jumanji stands.

    Attributes:
        inner: its own state.
        truncated: bool ``[]``, its episode is over, but not for good.
    """

    inner: Any
    truncated: Array


class Jumanji(environment.Environment[EnvState, None]):
    """An environment of Jumanji.

    Observations are Jumanji's by field, nested ones with a dot between (``items.x_len``), in its
    own dtypes. Several choices at once are one action, counted row by row: the last choice varies
    fastest. The field ``action_mask`` then has an entry for each of these actions, so
    ``agent.action_mask_key=action_mask`` works as it does for single choices.
    """

    def __init__(self, suite: jumanji.Environment, env_id: str):
        """Wrap an environment.

        Args:
            suite: the environment.
            env_id: Jumanji's id.

        Raises:
            ValueError: if its rewards or actions are of a kind that cannot be streamed.
        """
        super().__init__()
        self.suite, self.env_id = suite, env_id
        if suite.reward_spec.shape != ():
            raise ValueError(
                f"jumanji/{env_id} cannot be streamed: it rewards each of "
                f"{suite.reward_spec.shape[0]} agents, and there is one here"
            )
        spec = suite.action_spec
        if isinstance(spec, specs.DiscreteArray):
            self.choices: tuple[int, ...] = (spec.num_values,)
        elif isinstance(spec, specs.MultiDiscreteArray):
            self.choices = tuple(np.asarray(spec.num_values).ravel().tolist())
        else:
            raise ValueError(
                f"jumanji/{env_id} cannot be streamed: its actions must be discrete, not {spec}"
            )
        if math.prod(self.choices) > MOST_ACTIONS:
            raise ValueError(
                f"jumanji/{env_id} cannot be streamed: its choices, {list(self.choices)}, make "
                f"{math.prod(self.choices)} actions together, and at most {MOST_ACTIONS} are one"
            )

    def reset_env(self, key: Array, params: None) -> tuple[dict[str, Array], EnvState]:
        """Draw a problem."""
        inner, timestep = self.suite.reset(key)
        return self._seen(timestep), EnvState(inner, jnp.zeros((), bool))

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: None
    ) -> tuple[dict[str, Array], EnvState, Array, Array, dict[Any, Any]]:
        """Act; what is drawn at random comes of this step's key, not of Jumanji's own chain.

        So copies of one state go on differently.
        """
        inner, timestep = self.suite.step(state.inner.replace(key=key), self._choices(action))
        over_for_good = timestep.last() & (timestep.discount == 0)
        state = EnvState(inner, timestep.last() & (timestep.discount != 0))
        return self._seen(timestep), state, timestep.reward, over_for_good, {}

    def is_truncated(self, state: EnvState, params: None) -> Array:
        """Whether the episode is over, but not for good."""
        return state.truncated

    @property
    def name(self) -> str:
        """Jumanji's id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """All combinations of choices."""
        return math.prod(self.choices)

    def action_space(self, params: None = None) -> spaces.Discrete:
        """All combinations of choices."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: None) -> spaces.Dict:
        """Jumanji's own, flat."""
        codes = _CODES.get(type(self.suite).__name__, ())
        space = {
            name: _codes(spec) if name in codes else _box(spec)
            for name, spec in _leaves(self.suite.observation_spec)
        }
        if "action_mask" in space:
            space["action_mask"] = spaces.Box(0, 1, (self.num_actions,), jnp.bool_)
        return spaces.Dict(space)

    def _choices(self, action: Array) -> Array:
        """Return an action as Jumanji takes it."""
        spec = self.suite.action_spec
        if isinstance(spec, specs.DiscreteArray):
            return jnp.asarray(action, spec.dtype)
        choices = jnp.unravel_index(action, self.choices)
        return jnp.stack(choices).reshape(spec.shape).astype(spec.dtype)

    def _seen(self, timestep: Any) -> dict[str, Array]:
        seen = {}
        for name, _ in _leaves(self.suite.observation_spec):
            value = timestep.observation
            for part in name.split("."):
                value = getattr(value, part)
            seen[name] = value
        if "action_mask" in seen:
            seen["action_mask"] = self._mask(seen["action_mask"])
        return seen

    def _mask(self, mask: Array) -> Array:
        """Return which actions are allowed, bool ``[A]``.

        Jumanji says so of combinations, or of each agent's choices by themselves.
        """
        if mask.shape == self.choices:
            return mask.reshape(-1)
        joint = jnp.ones((), bool)
        for row in mask:
            joint = joint[..., None] & align(row, joint[..., None])
        return joint.reshape(-1)


def list_ids() -> list[str]:
    """Return the ids in Jumanji's registry that can be streamed."""
    return sorted(set(jumanji.registered_environments()) - set(_UNSUPPORTED))


@checked
def make_jumanji(
    env_id: str,
    /,
    *,
    horizon: Size | None = None,
    terminate_on_truncation: bool = False,
    kwargs: Mapping[str, Any] | None = None,
) -> StreamEnv:
    """Stream an environment of Jumanji.

    Args:
        env_id: Jumanji's id, for example "Snake-v1".
        horizon: the longest episode in transitions, no longer than the environment's time limit;
            None for that, or what its rules allow, or 1000 where they allow any number.
        terminate_on_truncation: count truncation as termination.
        kwargs: arguments of the environment's constructor, for example ``time_limit``.

    Raises:
        ValueError: if there is no such environment, an argument is wrong, or its rewards or
            actions are of a kind that cannot be streamed.
    """
    known = jumanji.registered_environments()
    if env_id not in known:
        raise ValueError(f"jumanji has no environment {env_id!r}: {suggest(env_id, list_ids())}")
    if env_id.startswith("Sokoban") and "generator" not in (kwargs or {}):
        raise ValueError(
            f"jumanji/{env_id} takes its levels from the network: make it in Python, with "
            f"kwargs={{'generator': ...}}, one of jumanji's generators"
        )
    try:
        suite = jumanji.make(env_id, **(kwargs or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"jumanji/{env_id}: kwargs={dict(kwargs or {})}: {error}") from error
    longest = _lift_time_limit(suite)
    if longest is None:
        rules = _STEPS.get(type(suite).__name__, lambda suite: _NO_LIMIT)
        longest = int(rules(suite)) if horizon is None else horizon
    horizon = longest if horizon is None else min(horizon, longest)
    return make_stream_env(
        f"jumanji/{env_id}",
        Jumanji(suite, env_id),
        None,
        horizon=horizon,
        terminate_on_truncation=terminate_on_truncation,
        expensive_reset=True,
    )


def _lift_time_limit(suite: Any) -> int | None:
    """Let episodes go on past the time limit, which is returned; None if there is none.

    Jumanji ends an episode that is out of time as if for good, whatever the environment, so only
    without a limit does it tell an end: the stream's horizon takes the limit's place.
    """
    limit = getattr(suite, "time_limit", None)
    if limit is None:
        return None
    suite.time_limit = _NEVER  # what is observed has been specified with the limit already
    return int(limit)


def _leaves(spec: specs.Spec, prefix: str = "") -> list[tuple[str, specs.Array]]:
    """Return the arrays of a nested specification, with dotted names."""
    if isinstance(spec, specs.Array):
        return [(prefix, spec)]
    fields = [(name, inner) for name, inner in vars(spec).items() if isinstance(inner, specs.Spec)]
    return [
        leaf
        for name, inner in fields
        for leaf in _leaves(inner, f"{prefix}.{name}" if prefix else name)
    ]


def _codes(spec: Any) -> Codes:
    none = bool(np.min(spec.minimum) < 0)
    return Codes(int(np.max(spec.maximum)) + 1, spec.shape, spec.dtype, none=none)


def _box(spec: specs.Array) -> spaces.Box:
    if isinstance(spec, specs.BoundedArray):
        return spaces.Box(spec.minimum, spec.maximum, spec.shape, spec.dtype)
    if jnp.issubdtype(spec.dtype, jnp.integer):
        limits = jnp.iinfo(spec.dtype)
        return spaces.Box(limits.min, limits.max, spec.shape, spec.dtype)
    return spaces.Box(-jnp.inf, jnp.inf, spec.shape, spec.dtype)
