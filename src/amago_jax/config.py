"""Configuration: composing a run from conf/ and overrides, checking it, and building its parts.

Everything wrong with a configuration is found here, before anything compiles, and said in one
sentence that names the setting, its value and what would work.
"""

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax import envs
from amago_jax.agent import Agent, learned_gammas
from amago_jax.envs import StreamEnv
from amago_jax.envs.registry import SUITES
from amago_jax.parallel import DATA_AXIS, make_mesh
from amago_jax.training import Trainer

PACKAGED = Path(__file__).parent / "conf"
# An installed wheel carries conf/ inside the package; a checkout has it at the top.
CONF_DIR = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
PRESETS = ("experiment", "sweep")  # groups whose files choose environments


class ConfigError(ValueError):
    """A setting is unknown, malformed or impossible."""


def offer_environments(overrides: Sequence[str] = ()) -> None:
    """Offer every environment as ``env=<id>``; a file in conf/ takes precedence.

    Of other packages' suites, only the environments that the overrides, or an experiment or a
    sweep, mention: to list them all takes seconds of imports. Whether there are such environments
    is found out when they are made.

    Args:
        overrides: as on the command line.
    """
    presets = [path for group in PRESETS for path in (CONF_DIR / group).glob("*.yaml")]
    text = " ".join([*overrides, *(path.read_text() for path in presets)])
    mentioned = re.findall(rf"\b(?:{'|'.join(SUITES)})/[\w.-]+", text)
    store = ConfigStore.instance()
    for env_id in {*envs.list_ids(suites=False), *mentioned}:
        if (CONF_DIR / "env" / f"{env_id}.yaml").exists():
            continue
        folder, _, name = f"env/{env_id}".rpartition("/")
        node = {"env": {"_target_": "amago_jax.envs.make", "env_id": env_id}}
        store.store(group=folder, name=name, node=node, package="_global_")


def open_environment(overrides: Sequence[str]) -> list[str]:
    """Let ``env.<setting>=`` be said of settings that no file in conf/ names.

    Which ones there are, the environment says when it is made.

    Args:
        overrides: as on the command line.
    """
    return [f"++{item}" if item.startswith("env.") else item for item in overrides]


def compose(
    overrides: Sequence[str] = (), config_name: str = "config", *, hydra_settings: bool = False
) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: as on the command line, for example ``["env=tmaze/active", "seed=1"]``.
        config_name: a file at the top of conf/.
        hydra_settings: include Hydra's own, under ``hydra``.

    Returns:
        The composed configuration.

    Raises:
        ConfigError: if a choice or a key does not exist, or an override is malformed.
    """
    offer_environments(overrides)
    with initialize_config_dir(str(CONF_DIR.resolve()), version_base="1.3"):
        try:
            return hydra_compose(
                config_name,
                overrides=open_environment(overrides),
                return_hydra_config=hydra_settings,
            )
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            defaults = hydra_compose(config_name)
            raise ConfigError(_explain(error, overrides, defaults)) from error


def build(config: DictConfig) -> Trainer:
    """Build everything a configuration describes; compiles nothing.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
    """
    _check_numbers(config)
    env = _instantiate(config, "env")
    length = env.horizon if config.context_length is None else config.context_length
    if length < 1:
        raise ConfigError(f"context_length={length} must be at least 1")
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
    parts = {
        "agent": _build_agent(config, env, length),
        "schedule": _instantiate(config, "exploration", **_horizon(config, env)),
        "replay": _instantiate(config, "replay", window=length + 1),
        "optimizer": _instantiate(config, "optimizer"),
    }
    # Runs saved before there was hindsight have no such settings.
    if "hindsight" in config:
        parts["hindsight"] = _instantiate(config, "hindsight", protocol=env.goals)
    try:
        return Trainer(
            env=env,
            mesh=make_mesh(_devices(config)),
            envs=config.envs,
            rollout_steps=config.rollout_steps,
            updates=config.updates,
            batch_size=config.batch_size,
            batches_per_update=config.batches_per_update,
            evaluation_episodes=config.evaluation.episodes,
            greedy_rollouts=config.greedy_rollouts,
            greedy_evaluation=config.evaluation.greedy,
            **parts,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _devices(config: DictConfig) -> int:
    """As many devices as are visible and divide the work, unless the configuration says."""
    if config.devices is not None:
        return config.devices
    work = math.gcd(config.envs, config.batch_size)
    return max(n for n in range(1, len(jax.local_devices()) + 1) if work % n == 0)


def _build_agent(config: DictConfig, env: StreamEnv, length: int) -> Any:
    space = env.action_space
    distribution = _instantiate(config, "distribution", actions=space.size, kind=space.kind)
    heads = {
        "gammas": len(learned_gammas(config.agent.gammas, config.agent.multi_gamma)),
        "parameter_count": distribution.parameter_count,
    }
    agent = _instantiate(
        config,
        "agent",
        distribution=distribution,
        actor=_instantiate(config, "actor", **heads),
        advantage_filter=_instantiate(config, "advantage_filter"),
        timestep_encoder=_instantiate(
            config, "timestep_encoder", axis_name=DATA_AXIS, **_visible_keys(config, env)
        ),
        trajectory_encoder=_instantiate(config, "trajectory_encoder", context_length=length),
        axis_name=DATA_AXIS,
    )
    _check_shapes(agent, env)
    return agent


def _visible_keys(config: DictConfig, env: StreamEnv) -> dict[str, tuple[str, ...]]:
    """Hide from the policy what only hindsight may see."""
    if env.goals is None:
        return {}
    hidden, chosen = env.goals.achieved_key, config.timestep_encoder.observation_keys
    visible = tuple(key for key in env.observation_shapes if key != hidden)
    if chosen is not None and hidden in chosen:
        raise ConfigError(
            f"timestep_encoder.observation_keys={list(chosen)}: {hidden!r} is for hindsight alone; "
            f"choose from {', '.join(visible)}"
        )
    return {"observation_keys": visible if chosen is None else tuple(chosen)}


def _check_shapes(agent: Agent, env: StreamEnv) -> None:
    """Trace the networks on the environment's observations, which only now are known together."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    timestep = jax.eval_shape(jax.vmap(env.reset), keys).timestep
    try:
        agent.legal_actions(timestep.observation)
        jax.eval_shape(agent.init, key, timestep)
    except ValueError as error:
        raise ConfigError(f"the agent does not fit {env.name!r}: {_first_line(error)}") from error


def _horizon(config: DictConfig, env: StreamEnv) -> dict[str, int]:
    # A schedule within the episode needs its length, unless the configuration gives one.
    within_episode = not config.exploration._target_.endswith(".Plain")
    given = "horizon" in config.exploration
    return {"horizon": env.horizon} if within_episode and not given else {}


def _instantiate(config: DictConfig, group: str, **arguments: Any) -> Any:
    """Call a group's ``_target_``, turning what goes wrong into one sentence."""
    settings = {
        str(key): tuple(value) if isinstance(value, list) else value
        for key, value in OmegaConf.to_container(config[group], resolve=True).items()  # type: ignore[union-attr]
    }
    try:
        return get_method(str(settings.pop("_target_")))(**{**settings, **arguments})
    except (HydraException, ValueError, TypeError) as error:
        raise ConfigError(f"{group}: {_first_line(error)}") from error


POSITIVE = (
    "envs",
    "epochs",
    "rollout_steps",
    "updates",
    "batch_size",
    "batches_per_update",
    "evaluation.every",
    "evaluation.episodes",
    "stop.evaluations",
    "checkpoint.every",
    "checkpoint.keep",
    "agent.critics",
)


def _check_numbers(config: DictConfig) -> None:
    for key in POSITIVE:
        value = OmegaConf.select(config, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{key}={value!r} must be a whole number of at least 1")
    if not isinstance(config.seed, int):
        raise ConfigError(f"seed={config.seed!r} must be a whole number")


def _explain(error: Exception, overrides: Sequence[str], defaults: DictConfig) -> str:
    """Say what is wrong with the overrides in one sentence, with the nearest that would work."""
    if isinstance(error, OverrideParseException):
        return f"{error.override} is malformed: {_first_line(error)}"
    tree: Any = OmegaConf.to_container(defaults, resolve=False)
    known = sorted(_keys(tree))
    groups = [key for key, value in tree.items() if isinstance(value, dict)]
    text = f"{error} {error.__cause__ or ''}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if type(error) is ValueError and value == "null":
            # Hydra overrides what a file overrides already with a name only.
            return f"{override} does not leave out {key} here; write '~{key}'"
        if key in groups and value and f"{key}/{value}" in text:
            return f"{key}={value} does not exist{_suggest(value, list(choices(key)))}"
        if key not in groups and key not in known and key in text and override[0] not in "+~":
            return f"there is no setting {key!r}{_suggest(key, known)}"
    return _first_line(error)


def choices(group: str) -> Iterator[str]:
    """Yield the names that ``group=`` takes, for example "gymnax/CartPole-v1" for "env".

    Without other packages' suites, see `offer_environments`.
    """
    folder = CONF_DIR / group
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    if group == "env":
        found |= set(envs.list_ids(suites=False))
    yield from sorted(found)


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    ends = [other for other in known if other.rpartition(".")[2] == name]
    near = list(dict.fromkeys([*ends, *close]))
    return f"; did you mean {' or '.join(near)}?" if near else f"; choose from {', '.join(known)}"


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if key in ("hydra", "_target_"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]
