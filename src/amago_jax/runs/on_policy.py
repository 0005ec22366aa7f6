"""Training PPO, to compare with: a folder that reports read as they read that of a run."""

import math
import time
from pathlib import Path
from typing import Any

import jax
from omegaconf import DictConfig, OmegaConf

from amago_jax.baselines import PPO, PPOSettings, make_ppo_agent
from amago_jax.baselines.ppo import PPOState
from amago_jax.errors import ConfigError, TrainingError, config_errors
from amago_jax.kinds import show
from amago_jax.learning.metrics import floats
from amago_jax.reports.finding import CONFIG_FILE
from amago_jax.reports.plotting import plot_run
from amago_jax.reports.row_store import RowStore
from amago_jax.reports.rows import times
from amago_jax.runs.building import build
from amago_jax.runs.directories import check_unused, make_directory, save_settings
from amago_jax.runs.health import failures_named
from amago_jax.runs.logging import ConsoleLogger
from amago_jax.runs.logging.jsonl import JsonLinesLogger
from amago_jax.runs.snapshots import is_over

# Settings of AMAGO's learning, which PPO does not read.
UNREAD = (
    *("agent", "advantage_filter", "exploration", "hindsight", "optimizer", "replay"),
    *("updates", "batch_size", "batches_per_update", "learning_starts", "greedy_rollouts"),
)
# What training of AMAGO's agent can do beside, and PPO cannot.
MISSING: dict[str, tuple[Any, ...]] = {
    "resume": (None,),
    "seeds": (None,),
    "grid": (None,),
    "lanes": (None,),
    "devices": (None, 1),
    "extra_losses": ({},),
    "on_nan": ("stop",),
    "on_env_nan": ("stop",),
}


def build_ppo(config: DictConfig) -> PPO:
    """Build what `conf/ppo.yaml` describes; compiles nothing.

    Encoders, actor and environment are those of a run.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
    """
    for name, able in MISSING.items():
        if config[name] not in able:
            raise ConfigError(f"{name}={show(config[name])} is not for PPO: leave it out")
    trainer = build(config)  # which checks all settings
    with config_errors():
        settings = PPOSettings(**config.ppo)
    parts, length = trainer.agent, trainer.replay.window - 1
    memory = parts.trajectory_encoder
    attends = memory.choose_attention(length + 1) is not None
    agent = make_ppo_agent(
        distribution=parts.distribution,
        timestep_encoder=_on_one_device(parts.timestep_encoder),
        trajectory_encoder=memory,
        actor=parts.actor.clone(gammas=1),
        gamma=settings.gamma,
        past=length if attends else 0,
        action_mask_key=parts.action_mask_key,
    )
    return PPO(
        agent=agent,
        env=trainer.env,
        settings=settings,
        envs=config.envs,
        rollout_steps=config.rollout_steps,
        epochs=config.epochs,
        evaluation_episodes=config.evaluation.episodes,
        greedy_evaluation=config.evaluation.greedy,
    )


def check_ppo(config: DictConfig) -> None:
    """Check what `train_ppo` takes.

    Raises:
        ConfigError: see `build_ppo`.
    """
    build_ppo(config)


def train_ppo(config: DictConfig) -> Path:
    """Train as `conf/ppo.yaml` describes; leave settings, metrics and curves in a folder.

    Returns:
        The folder.

    Raises:
        ConfigError: see `build_ppo`, or if the folder holds another run.
        TrainingError: if the loss becomes NaN or infinite.
        CheckpointError: if results cannot be written.
    """
    trainer = build_ppo(config)
    directory = make_directory(config, f"ppo_seed{config.seed}")
    check_unused(directory)
    save_settings(_read_settings(config), directory / CONFIG_FILE)
    key_train, key_evaluate = jax.random.split(jax.random.key(config.seed))
    rows = RowStore()
    with (
        ConsoleLogger(config.logger.console) as console,
        JsonLinesLogger(directory) as log,
        failures_named(trainer.env),
    ):
        console.message(f"{trainer.env.name}: compiling PPO; everything goes to {directory}")
        state = trainer.init(key_train)
        seconds = _compile(trainer, state, key_evaluate)
        while not is_over(config, rows):
            state, row = _epoch(trainer, state, config, rows, key_evaluate)
            row["time/compile_seconds"] = seconds
            rows.append(row)
            log.log(row)
            console.log(row)
    if config.logger.plots:
        plot_run(rows, directory, f"{trainer.env.name}, PPO, seed {config.seed}")
    last = rows[-1]
    print(
        f"PPO in {trainer.env.name}: evaluation return {last['evaluation/return']:.2f} after "
        f"{last['env_steps']:,.0f} steps in {last['time/seconds']:.0f} s; {directory}"
    )
    return directory


def _epoch(
    trainer: PPO, state: PPOState, config: DictConfig, rows: RowStore, key: jax.Array
) -> tuple[PPOState, dict[str, float]]:
    """Train one epoch, evaluate if it is time to, and return the row."""
    started = time.perf_counter()
    state, metrics = trainer.train_epoch(state)
    found = floats(metrics)
    training = time.perf_counter() - started
    epoch = len(rows) + 1
    if not math.isfinite(found["loss/total"]):
        raise TrainingError(
            f"the loss is {found['loss/total']} in epoch {epoch}; "
            f"ppo.learning_rate={config.ppo.learning_rate} may be too large"
        )
    if epoch % config.evaluation.every == 0 or epoch == config.epochs:
        evaluation = floats(trainer.evaluate(state.agent, jax.random.fold_in(key, epoch)))
        if not math.isfinite(evaluation["evaluation/return"]):
            raise TrainingError(
                f"an evaluation's return is {evaluation['evaluation/return']} in epoch {epoch}, "
                f"for env {trainer.env.name!r} gave a NaN or infinite reward or observation"
            )
        found |= evaluation
    row = {"epoch": float(epoch), "epochs": float(config.epochs)}
    row |= {name: value for name, value in found.items() if not math.isnan(value)}
    before = rows[-1] if rows else None
    return state, row | times(row, before, training, time.perf_counter() - started)


def _compile(trainer: PPO, state: PPOState, key: jax.Array) -> float:
    """Compile before the clock runs; return the seconds that it took."""
    started = time.perf_counter()
    # By calls on a copy, for an epoch takes what it is given.
    copy = jax.tree.map(lambda x: x.copy(), state)
    jax.block_until_ready(trainer.evaluate(state.agent, key))
    jax.block_until_ready(trainer.train_epoch(copy))
    return time.perf_counter() - started


def _read_settings(config: DictConfig) -> DictConfig:
    """Return the settings that were read, and no others, for reports to tell runs apart by."""
    tree: Any = OmegaConf.to_container(config, resolve=True)
    return OmegaConf.create({name: one for name, one in tree.items() if name not in UNREAD})


def _on_one_device(encoder: Any) -> Any:
    """Return an encoder whose statistics are of one device."""
    return encoder.clone(axis_name=None) if hasattr(encoder, "axis_name") else encoder
