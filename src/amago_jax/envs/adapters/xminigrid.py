"""XLand-MiniGrid's environments, by id: grids with rules of their own, and MiniGrid's.

Source: Nikulin et al. 2023, "XLand-MiniGrid" (arXiv 2312.12044).
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import xminigrid
from gymnax.environments import environment, spaces
from xminigrid.core.constants import NUM_COLORS, NUM_TILES

from amago_jax.envs.adapters.xland_rulesets import generate_rulesets
from amago_jax.envs.codes import Codes
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import Seed, Size, check, checked
from amago_jax.types import Array

_PARAMETERS = ("view_size", "max_steps")
_WITHOUT_GOAL = "MiniGrid-Playground"
CODES = max(NUM_TILES, NUM_COLORS)  # of an object, or of its colour


class XMiniGrid(environment.Environment[Any, Any]):
    """An environment of XLand-MiniGrid; state and parameters are the suite's.

    Observed is what lies before the player, uint8 ``[V, V, 2]``: objects and their colours.
    """

    def __init__(self, suite: Any, env_id: str):
        """Wrap an environment of the suite, called ``env_id`` there."""
        super().__init__()
        self.suite, self.env_id = suite, env_id

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """Draw a grid."""
        state = self.suite.reset(params, key)
        return state.observation, state

    def step_env(
        self, key: Array, state: Any, action: Any, params: Any
    ) -> tuple[Array, Any, Array, Array, dict[Any, Any]]:
        """Act; the suite's steps draw nothing at random."""
        state = self.suite.step(params, state, action)
        terminated = state.last() & (state.discount == 0)
        return state.observation, state, state.reward, terminated, {}

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the time is up."""
        return state.last() & (state.discount != 0)

    @property
    def name(self) -> str:
        """The suite's id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """Forward, right, left, pick up, put down, toggle."""
        return self.suite.num_actions(None)

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Forward, right, left, pick up, put down, toggle."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: Any) -> Codes:
        """Objects and their colours."""
        return Codes(CODES, self.suite.observation_shape(params), jnp.uint8)


def make(env_id: str, params: Mapping[str, Any] | None = None) -> tuple[XMiniGrid, Any]:
    """Make an environment of XLand-MiniGrid.

    Args:
        env_id: the suite's id, for example "MiniGrid-DoorKey-5x5".
        params: what to change in its parameters: ``view_size``, an odd number of cells to a side,
            or ``max_steps`` of an episode.

    Returns:
        The environment and its parameters.

    Raises:
        ValueError: if the id or a parameter does not exist, it cannot be won, or a parameter is out
            of range.
    """
    known = xminigrid.registered_environments()
    if env_id == _WITHOUT_GOAL:
        raise ValueError(f"xminigrid/{env_id} cannot be won: it has no goal, and pays nothing")
    if env_id not in known:
        raise ValueError(f"xminigrid has no environment {env_id!r}: {suggest(env_id, known)}")
    for name, value in (params or {}).items():
        if name not in _PARAMETERS:
            raise ValueError(
                f"xminigrid/{env_id} has no parameter {name!r} (={value!r}): "
                f"{suggest(name, _PARAMETERS)}"
            )
        check(f"xminigrid/{env_id}: {name}", value, Size)
        if name == "view_size" and value % 2 == 0:
            raise ValueError(f"xminigrid/{env_id}: {name}={value!r} must be an odd whole number")
    suite, suite_params = xminigrid.make(env_id, **(params or {}))
    return XMiniGrid(suite, env_id), suite_params


def list_ids() -> list[str]:
    """Return the ids in the suite's registry of what can be won."""
    return sorted({*xminigrid.registered_environments()} - {_WITHOUT_GOAL})


@checked
def make_xminigrid(
    env_id: str,
    /,
    *,
    params: Mapping[str, Any] | None = None,
    ruleset_seed: Seed = 0,
    terminate_on_truncation: bool = False,
) -> StreamEnv:
    """Stream an environment of XLand-MiniGrid.

    Args:
        env_id: the suite's id, for example "MiniGrid-DoorKey-5x5".
        params: what to change in its parameters, see `make`.
        ruleset_seed: of the one ruleset that is played, in environments called XLand, which have
            neither rules nor a goal of their own; ``meta/xland_minigrid`` draws many.
        terminate_on_truncation: count truncation as termination.

    Raises:
        ValueError: if a name does not exist, or a setting is out of range.
    """
    env, env_params = make(env_id, params)
    if env_id.startswith("XLand"):
        rulesets = generate_rulesets("small", count=1, seed=ruleset_seed)
        env_params = env_params.replace(ruleset=rulesets.get_ruleset(0))
    return make_stream_env(
        f"xminigrid/{env_id}",
        env,
        env_params,
        horizon=env_params.max_steps,
        terminate_on_truncation=terminate_on_truncation,
        expensive_reset=True,
    )
