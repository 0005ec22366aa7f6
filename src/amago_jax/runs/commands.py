"""What the commands do: train a run from its configuration, evaluate a saved one."""

from omegaconf import DictConfig, OmegaConf

from amago_jax.acting.recording import check_drawing, frames, record_episode
from amago_jax.envs import StreamEnv
from amago_jax.errors import ConfigError
from amago_jax.reports.rendering import write_animation
from amago_jax.reports.rows import METRICS_FILE
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.lanes import describe_lanes
from amago_jax.runs.logging import ConsoleLogger, JsonLinesLogger
from amago_jax.runs.outcome import CONFIG_FILE, recorded
from amago_jax.runs.run import Row, Run, load_run


def train(config: DictConfig) -> Run:
    """Train as configured, with progress, logs, checkpoints and curves in the run's folder.

    How it ended is left there, too, in ``outcome.json``.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        TrainingError: if training cannot go on.
    """
    run = Run(config)
    directory = run.directory
    if (directory / METRICS_FILE).exists():
        raise ConfigError(f"run_dir={directory} already holds a run; choose another folder")
    OmegaConf.save(run.config, directory / CONFIG_FILE, resolve=True)
    with (
        recorded(run),
        JsonLinesLogger(directory) as jsonl,
        ConsoleLogger(config.logger.console) as console,
    ):
        memory = run.trainer.agent.trajectory_encoder
        choice = memory.choose_attention(run.trainer.replay.window)
        if choice is not None:
            console.message(f"attention={choice.name}, {choice.reason}")
        console.message(f"{run.trainer.env.name}: compiling; everything goes to {directory}")
        if config.lanes is not None:
            console.message(describe_lanes(run.config))
        console.message(f"compiled in {run.compile():.0f} s")
        for row in run.epochs():
            jsonl.log(row)
            console.log(row)
            if row["epoch"] % config.checkpoint.every == 0:
                _save(run)
        _save(run)
    print(_summary(run))
    return run


def evaluate(config: DictConfig) -> Row:
    """Evaluate a saved run, as `conf/evaluate.yaml` describes; print and return its metrics."""
    overrides = [
        *config.overrides,
        f"evaluation.episodes={config.episodes}",
        f"evaluation.greedy={config.greedy}",
        f"seed={config.seed}",
    ]
    run = load_run(config.checkpoint, overrides)
    # Loading chose what the run was trained with.
    use_compilation_cache(**config.get("compilation_cache", {}))
    if config.render:
        _check_drawing(run.trainer.env)
    row, trainer = run.evaluate(), run.trainer
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


def _save(run: Run) -> None:
    run.save()
    if run.config.logger.plots:
        run.plot()


def _summary(run: Run) -> str:
    last = run.rows[-1]
    returns = [row["evaluation/return"] for row in run.rows if "evaluation/return" in row]
    return (
        f"Learned {run.trainer.env.name}: evaluation return {returns[0]:.2f} at first, "
        f"{returns[-1]:.2f} at last, after {last['env_steps']:,.0f} steps and "
        f"{last['updates']:,.0f} updates in {last['time/seconds']:.0f} s, "
        f"beside {last['time/compile_seconds']:.0f} s of compiling; "
        f"metrics, curves and checkpoint are in {run.directory}"
    )
