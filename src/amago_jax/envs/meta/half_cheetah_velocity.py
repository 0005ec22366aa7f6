"""HalfCheetah-Velocity: run at a hidden speed, which the rewards alone tell.

MuJoCo's half-cheetah as gymnasium has it (HalfCheetah-v5), simulated by MJX on the device.

Source: Finn et al. 2017 (arXiv 1703.03400), section 5.3, with the rewards of VariBAD (Zintgraf et
al. 2020, arXiv 1910.08348), as in AMAGO's code.
"""

import functools
import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from flax import struct
from gymnax.environments import spaces
from mujoco import mjx

from amago_jax.envs.meta.meta_episode import make_meta_env
from amago_jax.envs.stream import StreamEnv
from amago_jax.settings import Size, checked
from amago_jax.types import Array

FRAME_SKIP = 5  # physics steps, of 0.01 s, to a step
NOISE = 0.1  # of positions and speeds an attempt begins with
CONTROL_COST = 0.5 * 0.1  # half of HalfCheetah's own


@struct.dataclass
class EnvState:
    """Where the cheetah is.

    Attributes:
        position: float32 ``[9]``, joints; the first one is the place on the road, in m.
        velocity: float32 ``[9]``, per s.
        target: float32 ``[]``, the hidden speed, in m/s.
        speed: float32 ``[]``, forward speed over the last step, in m/s.
    """

    position: Array
    velocity: Array
    target: Array
    speed: Array


@struct.dataclass
class EnvParams:
    """Which speeds are asked for.

    Attributes:
        slowest: in m/s.
        fastest: in m/s.
        tolerance: m/s; an attempt that ends as near the target has succeeded.
    """

    slowest: float = 0.0
    fastest: float = 3.0
    tolerance: float = 0.5


class HalfCheetahVelocity:
    """A cheetah in two dimensions, see `amago_jax.envs.meta.meta_episode`.

    Observed are float32 ``[17]``: all positions but the place on the road, and velocities.
    """

    name = "HalfCheetahVelocity"

    def __init__(self) -> None:
        """Load the model."""
        self.model = load_model()
        self.system = mjx.put_model(self.model)

    def draw_task(self, key: Array, params: EnvParams) -> Array:
        """Draw a speed."""
        return jax.random.uniform(key, minval=params.slowest, maxval=params.fastest)

    def begin_attempt(self, key: Array, task: Array, params: EnvParams) -> tuple[Array, EnvState]:
        """Let the cheetah down on its feet, or nearly so."""
        key_position, key_velocity = jax.random.split(key)
        size = self.model.nq
        noise = jax.random.uniform(key_position, (size,), minval=-NOISE, maxval=NOISE)
        state = EnvState(
            position=jnp.asarray(self.model.qpos0, jnp.float32) + noise,
            velocity=NOISE * jax.random.normal(key_velocity, (size,)),
            target=task,
            speed=jnp.zeros(()),
        )
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Array, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Apply torques ``[6]`` for 0.05 s."""
        data = mjx.make_data(self.model).replace(
            qpos=state.position,
            qvel=state.velocity,
            ctrl=action,
        )
        with jax.numpy_rank_promotion("allow"):  # MuJoCo mixes ranks
            data = jax.lax.fori_loop(
                0, FRAME_SKIP, lambda _, data: mjx.step(self.system, data), data
            )
        seconds = FRAME_SKIP * self.model.opt.timestep
        speed = (data.qpos[0] - state.position[0]) / seconds
        state = EnvState(
            position=data.qpos,
            velocity=data.qvel,
            target=state.target,
            speed=speed,
        )
        reward = -jnp.abs(speed - state.target) - CONTROL_COST * jnp.square(action).sum()
        return self.observe(state), state, reward, jnp.zeros((), bool), {}

    def observe(self, state: EnvState) -> Array:
        """Return positions but the place on the road, and velocities."""
        return jnp.concatenate([state.position[1:], state.velocity])

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: an attempt is so many steps."""
        return jnp.zeros((), bool)

    def succeeded(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the last step was about as fast as asked for."""
        return jnp.abs(state.speed - state.target) < params.tolerance

    def action_space(self, params: EnvParams) -> spaces.Box:
        """Torques of six joints, which the model scales."""
        return spaces.Box(-1.0, 1.0, (self.model.nu,), jnp.float32)

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """Positions and velocities, unbounded."""
        size = self.model.nq - 1 + self.model.nv
        return spaces.Box(-jnp.inf, jnp.inf, (size,), jnp.float32)


@functools.cache  # a model equals itself alone, and equal environments share programs
def load_model() -> mujoco.MjModel:
    """Load gymnasium's half-cheetah."""
    package = importlib.util.find_spec("gymnasium")
    if package is None or package.origin is None:
        raise ImportError("the half-cheetah's model comes with gymnasium, which is missing")
    path = Path(package.origin).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    spec = mujoco.MjSpec.from_file(str(path))
    # MuJoCo 4 warns of this attribute, in a log file in the working directory too, and says to
    # scale the masses like this instead.
    mass, spec.compiler.settotalmass = spec.compiler.settotalmass, -1
    model = spec.compile()
    mujoco.mj_setTotalmass(model, mass)
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


@checked
def make_half_cheetah_velocity(
    *,
    attempts: Size | None = 1,
    budget: Size | None = None,
    attempt_limit: Size = 200,
    slowest: float = 0.0,
    fastest: float = 3.0,
) -> StreamEnv:
    """Make HalfCheetah-Velocity.

    Args:
        attempts: at one speed; or
        budget: steps of a meta-episode.
        attempt_limit: steps of an attempt.
        slowest: speed that is asked for, in m/s.
        fastest: speed that is asked for, in m/s; who only runs gets to more than 10.

    Raises:
        ValueError: if a setting is out of range.
    """
    if not slowest <= fastest:
        raise ValueError(f"slowest={slowest!r} must be at most fastest={fastest!r}")
    return make_meta_env(
        "meta/half_cheetah_velocity",
        HalfCheetahVelocity(),
        EnvParams(slowest=slowest, fastest=fastest),
        attempts=attempts,
        budget=budget,
        attempt_limit=attempt_limit,
        terminates=False,  # a time limit of ours, as in the authors' code
    )
