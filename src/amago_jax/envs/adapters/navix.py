"""Navix's environments, MiniGrid in JAX, by id.

Source: Navix, Pignatelli et al. 2024 (arXiv 2407.19396).
"""

from importlib.metadata import version
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import navix
from gymnax.environments import environment, spaces
from navix.entities import EntityIds
from navix.rendering.cache import RenderingCache

from amago_jax.envs.codes import Codes
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.kinds import OneOf
from amago_jax.settings import Size, checked
from amago_jax.types import Array

# What is seen: the whole grid or what lies before the player; as triples of object, colour and
# state, as objects, or as an image.
_VIEWS = (
    "symbolic",
    "symbolic_first_person",
    "categorical",
    "categorical_first_person",
    "rgb",
    "rgb_first_person",
)
View = Annotated[str, OneOf(_VIEWS)]
# Of these `make_navix` says so. Later versions, which need Python 3.12, have mended them.
_UNWINNABLE = "Navix-KeyCorridor"
# How many things a cell may hold, the player last, more than there are colours or states; and how
# many colours a door may have.
_CODES = {"observation": int(EntityIds.PLAYER) + 1, "mission": 6}


class Navix(environment.Environment[navix.Timestep, None]):
    """An environment of Navix; the state is its timestep.

    Observed is what Navix shows, key ``observation``, in its own dtype, and where a door of some
    colour is to be found (GoToDoor), ``mission``, int32 ``[1]``, that colour, which Navix keeps to
    itself.
    """

    def __init__(self, suite: navix.Environment, env_id: str, renders: bool):
        """Wrap an environment of Navix.

        Args:
            suite: the environment.
            env_id: Navix's id.
            renders: it shows images.
        """
        super().__init__()
        self.suite, self.env_id, self.renders = suite, env_id, renders

    def reset_env(self, key: Array, params: None) -> tuple[dict[str, Array], navix.Timestep]:
        """Draw a grid."""
        return self._seen(self.suite.reset(key))

    def step_env(
        self, key: Array, state: navix.Timestep, action: Any, params: None
    ) -> tuple[dict[str, Array], navix.Timestep, Array, Array, dict[Any, Any]]:
        """Act; what is drawn at random comes of this step's key, not of Navix's own chain.

        So copies of one state go on differently. This is `navix.Environment.step` but for its
        automatic reset.
        """
        state = state.replace(state=state.state.replace(key=key))
        observation, state = self._seen(self.suite._step(state, action))
        return observation, state, state.reward, state.is_termination(), {}

    def is_truncated(self, state: navix.Timestep, params: None) -> Array:
        """Whether the time is up."""
        return state.is_truncation()

    @property
    def name(self) -> str:
        """Navix's id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """Navix's own."""
        return len(self.suite.action_set)

    def action_space(self, params: None = None) -> spaces.Discrete:
        """Navix's own."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: None) -> spaces.Dict:
        """What Navix shows, and the mission, if there is one."""
        observation, _ = jax.eval_shape(self.reset_env, jax.random.key(0), None)
        counts = dict(_CODES) if not self.renders else {"mission": _CODES["mission"]}
        return spaces.Dict(
            {
                key: Codes(counts[key], x.shape, x.dtype)
                if key in counts
                else spaces.Box(0, 255, x.shape, x.dtype)
                for key, x in observation.items()
            }
        )

    def _seen(self, state: navix.Timestep) -> tuple[dict[str, Array], navix.Timestep]:
        observation = {"observation": state.observation}
        if state.state.mission is not None:
            observation["mission"] = state.state.mission.colour.reshape(1)
        # The state need not hold the observation twice, nor an image of the grid for nothing.
        inner = state.state
        if not self.renders:
            inner = inner.replace(cache=RenderingCache(jnp.zeros((0,), jnp.uint8)))
        return observation, state.replace(observation=jnp.zeros((0,)), state=inner)


def list_ids() -> list[str]:
    """Return the ids in Navix's registry of what can be won."""
    return sorted(id_ for id_ in navix.registry() if not id_.startswith(_UNWINNABLE))


@checked
def make_navix(
    env_id: str,
    /,
    *,
    view: View = "symbolic",
    max_steps: Size = 100,
    terminate_on_truncation: bool = False,
) -> StreamEnv:
    """Stream an environment of Navix.

    Args:
        env_id: Navix's id, for example "Navix-DoorKey-5x5-v0".
        view: what is seen, the name of one of Navix's observation functions; symbolic and
            categorical show the whole grid, with ``_first_person`` what lies before the player.
        max_steps: steps of the longest episode; Navix's own default, whatever the environment.
        terminate_on_truncation: count truncation as termination.

    Raises:
        ValueError: if there is no such environment, it cannot be won, or a setting is out of range.
    """
    if env_id not in navix.registry():
        raise ValueError(f"navix has no environment {env_id!r}: {suggest(env_id, list_ids())}")
    if env_id.startswith(_UNWINNABLE):
        raise ValueError(
            f"navix/{env_id} cannot be won in Navix {version('navix')}, where its doors are walls "
            "and its ball counts for nothing; xminigrid/MiniGrid-UnlockPickUp is alike, and can"
        )
    suite = navix.make(
        env_id, max_steps=max_steps, observation_fn=getattr(navix.observations, view)
    )
    return make_stream_env(
        f"navix/{env_id}",
        Navix(suite, env_id, renders=view.startswith("rgb")),
        None,
        horizon=max_steps,
        terminate_on_truncation=terminate_on_truncation,
        expensive_reset=True,
    )
