"""What the commands do: train a run from its configuration, evaluate a saved one."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amago_jax.acting.recording import check_drawing, frames, record_episode
from amago_jax.envs import StreamEnv
from amago_jax.errors import ConfigError
from amago_jax.reports.rendering import write_animation
from amago_jax.runs.compilation_cache import DEFAULT, use_compilation_cache
from amago_jax.runs.directories import TOGETHER_FILE
from amago_jax.runs.health import check_evaluation
from amago_jax.runs.loading import load_run
from amago_jax.runs.members import is_side_by_side
from amago_jax.runs.run import Row, Run
from amago_jax.runs.saved import modules_of
from amago_jax.runs.side_by_side import Runs
from amago_jax.runs.train_side_by_side import train_side_by_side
from amago_jax.runs.training import train_run


def train(config: DictConfig) -> Run | Runs:
    """Train as configured, with progress, logs, checkpoints and curves in the run's folder.

    How it ended is left there, too, in ``outcome.json``. With ``resume``, a run goes on as it was
    configured.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        TrainingError: if training cannot go on.
        CheckpointError: if results cannot be written, or there is nothing to resume.
        InterruptionError: if the process was asked to end; all is saved.
    """
    if config.get("resume") is not None:
        # Whatever this configuration names itself, its user has named.
        return resume(config.resume, _cache_of(config), modules_of(config))
    if is_side_by_side(config):
        return train_side_by_side(Runs(config))
    return train_run(Run(config))


def resume(
    folder: str | Path, overrides: Sequence[str] = (), imports: Sequence[str] = ()
) -> Run | Runs:
    """Go on with a run, or with runs side by side, as `train` does.

    Args:
        folder: the run's, or that of all.
        overrides: changes to how it was configured, see `Run.resume`.
        imports: see `load_run`.

    Raises:
        ConfigError: if an override is wrong.
        CheckpointError: if there is nothing to go on from, or results cannot be written.
        TrainingError: if training cannot go on.
        InterruptionError: if the process was asked to end; all is saved.
    """
    if (Path(folder) / TOGETHER_FILE).exists():
        return train_side_by_side(Runs.resume(folder, overrides, imports=imports))
    return train_run(Run.resume(folder, overrides, imports=imports))


def _cache_of(config: DictConfig) -> list[str]:
    """Return the override that names the folder of programs, which no file may name."""
    folder = OmegaConf.select(config, "compilation_cache.folder")
    if folder in (None, DEFAULT):
        return []
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [f"++compilation_cache.folder='{quoted}'"]


def evaluate(config: DictConfig) -> Row:
    """Evaluate a saved run, as `conf/evaluate.yaml` describes; print and return its metrics.

    Raises:
        ConfigError: if a setting is wrong.
        CheckpointError: if there is no readable checkpoint.
        TrainingError: if the environment gave NaN or infinity.
    """
    overrides = [
        *config.overrides,
        f"evaluation.episodes={config.episodes}",
        f"evaluation.greedy={config.greedy}",
        f"seed={config.seed}",
    ]
    run = load_run(config.checkpoint, overrides, step=config.step, imports=config.imports)
    # Loading chose what the run was trained with.
    use_compilation_cache(**config.get("compilation_cache", {}))
    if config.render:
        _check_drawing(run.trainer.env)
    row, trainer = run.evaluate(), run.trainer
    check_evaluation(trainer, row)
    print(
        f"{trainer.env.name}: return {row['evaluation/return']:.3f} "
        f"± {row['evaluation/return_std']:.3f} over {config.episodes} episodes, "
        f"from {row['evaluation/return_min']:.3f} to {row['evaluation/return_max']:.3f}, "
        f"mean length {row['evaluation/episode_length']:.1f}"
    )
    for name, value in row.items():
        if name.startswith("evaluation/success/"):
            print(f"{name.removeprefix('evaluation/')}: {value:.3f}")
    if config.render:
        path = run.directory / "episode.gif"
        states = record_episode(trainer.env, run.policy, seed=config.seed, greedy=config.greedy)
        write_animation(frames(trainer.env, states), path)
        print(f"drew an episode in {path}")
    return row


def _check_drawing(env: StreamEnv) -> None:
    """Find out before anything is played whether it can be drawn."""
    try:
        check_drawing(env)
    except ValueError as error:
        raise ConfigError(f"render=true: {error}") from error
