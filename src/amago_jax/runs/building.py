"""Building a run's parts from its configuration.

Everything wrong with a configuration is found here, before anything compiles, and said in one
sentence that names the setting, its value and what would work.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from jax.sharding import Mesh
from omegaconf import DictConfig, OmegaConf

from amago_jax.agents import Agent
from amago_jax.agents.building import learned_gammas
from amago_jax.agents.extra_losses import Term
from amago_jax.agents.networks import DEFAULT_GAMMAS
from amago_jax.envs import StreamEnv
from amago_jax.envs.codes import codes_of
from amago_jax.envs.stream import make_stream_env
from amago_jax.errors import ConfigError, config_errors, first_line
from amago_jax.learning import Trainer
from amago_jax.parallel import DATA_AXIS, make_mesh
from amago_jax.runs.health import restarts_env, skips_nan
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.named_parts import find_part
from amago_jax.runs.own_forms import check_forms, check_members, fitting
from amago_jax.runs.own_parts import asked_for, import_modules, is_ours, own_targets, takes
from amago_jax.runs.schema import BESIDE, check_settings
from amago_jax.runs.shapes import agent_shapes


def build(config: DictConfig, mesh: Mesh | None = None) -> Trainer:
    """Build everything a configuration describes; compiles nothing.

    Args:
        config: a training configuration.
        mesh: the devices to train on, which need only be described; None: those that are here.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
    """
    _check_precision()
    import_modules(config.get("imports", ()))
    check_settings(config)
    env = _build_env(config)
    length = env.horizon if config.context_length is None else config.context_length
    config = in_lanes(config, window=length + 1)
    _check_lengths(config, length)
    if mesh is None:
        mesh = choose_mesh(config)
    parts = {
        "agent": _build_agent(config, env, length, mesh.devices.flat[0].platform),
        "schedule": _instantiate(config, "exploration", **_horizon(config, env)),
        "replay": _instantiate(config, "replay", window=length + 1),
        "optimizer": _instantiate(config, "optimizer"),
    }
    # Runs saved before there was hindsight have no such settings.
    if "hindsight" in config:
        parts["hindsight"] = _instantiate(config, "hindsight", protocol=env.goals)
    with config_errors():
        return Trainer(
            env=env,
            mesh=mesh,
            envs=config.envs,
            rollout_steps=config.rollout_steps,
            updates=config.updates,
            batch_size=config.batch_size,
            batches_per_update=config.batches_per_update,
            evaluation_episodes=config.evaluation.episodes,
            greedy_rollouts=config.greedy_rollouts,
            greedy_evaluation=config.evaluation.greedy,
            learning_starts=_learning_starts(config),
            skip_not_finite=skips_nan(config),
            restarts=restarts_env(config),
            **parts,
        )


def _check_lengths(config: DictConfig, length: int) -> None:
    """Check that the buffer holds windows of ``length`` transitions, and an epoch's rollout."""
    if config.replay.capacity <= length:
        raise ConfigError(
            f"context_length={length} does not fit replay.capacity={config.replay.capacity}: "
            f"the buffer must hold at least context_length + 1 = {length + 1} timesteps"
        )
    if config.rollout_steps > config.replay.capacity:
        raise ConfigError(
            f"rollout_steps={config.rollout_steps} does not fit "
            f"replay.capacity={config.replay.capacity}: an epoch would overwrite its own data"
        )


def _learning_starts(config: DictConfig) -> int:
    """Return after how many transitions updates begin; runs that had no choice do not wait.

    Raises:
        ConfigError: if a run ends before.
    """
    starts: int = config.get("learning_starts", 0)
    most = config.epochs * config.envs * config.rollout_steps
    if starts > most:
        raise ConfigError(
            f"learning_starts={starts} is more than the {most} timesteps that epochs="
            f"{config.epochs} of rollout_steps={config.rollout_steps} in envs={config.envs} make: "
            f"nothing would be learned; set learning_starts={most // 10}, for example"
        )
    return starts


def choose_mesh(config: DictConfig, seeds: int = 1) -> Mesh:
    """Return the devices here that a run is trained on.

    Args:
        config: a training configuration; without ``devices``, as many as share the work evenly.
        seeds: how many runs are trained side by side.

    Raises:
        ConfigError: if there are not as many devices.
    """
    devices = config.devices
    if devices is None:
        work = math.gcd(config.envs, config.batch_size)
        found = range(1, jax.device_count() + 1)
        devices = max(n for n in found if work % (n // math.gcd(n, seeds)) == 0)
    with config_errors():
        return make_mesh(devices, seeds)


def _build_agent(config: DictConfig, env: StreamEnv, length: int, platform: str) -> Any:
    space, dtype = env.action_space, config.dtype
    distribution = _instantiate(config, "distribution", actions=space.size, kind=space.kind)
    gammas = config.agent.get("gammas", DEFAULT_GAMMAS)
    memory = _build_memory(config, length, platform)
    with config_errors():
        memory.check_times(env.horizon)
    heads = {
        "gammas": len(learned_gammas(gammas, config.agent.get("multi_gamma", True))),
        "parameter_count": distribution.parameter_count,
    }
    agent = _instantiate(
        config,
        "agent",
        distribution=distribution,
        actor=_instantiate(config, "actor", **heads),
        advantage_filter=_instantiate(config, "advantage_filter"),
        timestep_encoder=_instantiate(
            config,
            "timestep_encoder",
            axis_name=DATA_AXIS,
            dtype=dtype,
            **_visible_keys(config, env),
            **_codes(config, env),
        ),
        trajectory_encoder=memory,
        extra_losses=_build_terms(config, env),
        axis_name=DATA_AXIS,
    )
    _check_shapes(config, agent, env, length)
    return agent


def _build_terms(config: DictConfig, env: StreamEnv) -> tuple[Term, ...]:
    """Make the terms that are added to the loss; runs that had no choice have none."""
    space, named = env.action_space, config.get("extra_losses", {})
    given = {"actions": space.size, "kind": space.kind, "dtype": config.dtype}
    modules = {str(name): _instantiate(config, f"extra_losses.{name}", **given) for name in named}
    with config_errors():
        return tuple(
            Term(name, module, named[name].get("coefficient", 1.0))
            for name, module in modules.items()
        )


def _build_memory(config: DictConfig, length: int, platform: str) -> Any:
    memory = _instantiate(config, "trajectory_encoder", context_length=length, dtype=config.dtype)
    with config_errors():
        # Runs saved before there was a choice have no such setting.
        memory = memory.with_attention(config.get("attention", "auto"), platform)
        memory.choose_attention(length + 1)
    return memory


def _visible_keys(config: DictConfig, env: StreamEnv) -> dict[str, tuple[str, ...]]:
    """Hide from the policy what only hindsight may see."""
    if env.goals is None:
        return {}
    hidden, chosen = env.goals.achieved_key, config.timestep_encoder.get("observation_keys")
    target = config.timestep_encoder._target_
    if not takes(find_part("timestep_encoder", target), "observation_keys"):
        raise ConfigError(
            f"timestep_encoder._target_={target} must take observation_keys, and look at no "
            f"others: {hidden!r} is for hindsight alone"
        )
    visible = tuple(key for key in env.observation_shapes if key != hidden)
    if chosen is not None and hidden in chosen:
        raise ConfigError(
            f"timestep_encoder.observation_keys={list(chosen)}: {hidden!r} is for hindsight alone; "
            f"choose from {', '.join(visible)}"
        )
    return {"observation_keys": visible if chosen is None else tuple(chosen)}


def _codes(config: DictConfig, env: StreamEnv) -> dict[str, dict[str, int]]:
    """Tell an encoder which observations are codes, if it would have them one-hot."""
    # Runs saved before codes were told from numbers have no such setting.
    return {"codes": codes_of(env)} if config.timestep_encoder.get("one_hot", False) else {}


def _check_shapes(config: DictConfig, agent: Agent, env: StreamEnv, length: int) -> None:
    """Trace the networks on the environment's observations, which only now are known together.

    Parts of one's own are traced first, each by itself, so that what is wrong is told of them.
    """
    own = own_targets(config)
    if own and "agent" not in own:
        check_forms(agent, env, frozenset(own.items()), length + 1)
    with fitting(env):
        agent_shapes(agent, env)


def _horizon(config: DictConfig, env: StreamEnv) -> dict[str, int]:
    # A schedule within the episode asks for its length, unless the configuration gives one.
    return {} if "horizon" in config.exploration else {"horizon": env.horizon}


def _build_env(config: DictConfig) -> StreamEnv:
    """Make the environment; one in gymnax's interface lasts for as long as its own time limit."""
    made = _instantiate(config, "env")
    if isinstance(made, Environment):
        with config_errors():
            return make_stream_env(config.env.env_id, made, made.default_params)
    if not isinstance(made, StreamEnv):
        raise ConfigError(
            f"env._target_={config.env._target_} makes a {type(made).__name__}, no environment: "
            "return what amago_jax.envs.stream.make_stream_env makes, or one in gymnax's interface"
        )
    return made


def _instantiate(config: DictConfig, group: str, **arguments: Any) -> Any:
    """Call a group's ``_target_``, turning what goes wrong into one sentence.

    Arguments that are no settings are those in `GIVEN`; a part is handed those it asks for.
    Those in `BESIDE` are not for the part.
    """
    section, _, name = group.partition(".")
    chosen = config[section][name] if name else config[section]
    found: Any = OmegaConf.to_container(chosen, resolve=True)
    settings = {
        str(key): tuple(value) if isinstance(value, list) else value
        for key, value in found.items()
        if key not in BESIDE.get(section, {})
    }
    target = str(settings.pop("_target_"))
    part = find_part(group, target)
    if group == "env":
        settings = asked_for(part, {"env_id": settings.pop("env_id", None)}) | settings
    try:
        made = part(**{**settings, **asked_for(part, arguments)})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{group}: {first_line(error)}") from error
    except Exception as error:  # whatever a part of one's own does
        kind = type(error).__name__
        raise ConfigError(f"{group}: {target} raised {kind}: {first_line(error)}") from error
    if not is_ours(target):
        check_members(group, target, made)
    return made


def _check_precision() -> None:
    """Refuse what would make other arrays of 64 bits beside parameters that have 32."""
    if jnp.result_type(float) == jnp.float64:
        raise ConfigError(
            "JAX_ENABLE_X64=1 (jax_enable_x64) does not fit: runs compute in float32, or in "
            "dtype=bfloat16; unset it"
        )
