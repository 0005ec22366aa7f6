"""What a run's checkpoint holds, and a run made of it again."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.errors import CheckpointError, ConfigError, DamagedError
from amago_jax.learning import TrainState
from amago_jax.learning.experience import place, spread
from amago_jax.parallel import SHARED
from amago_jax.reports.rows import METRICS_FILE, read_jsonl
from amago_jax.runs import checkpoints
from amago_jax.runs.checkpoints import REST, RETURN, STATE
from amago_jax.runs.schema import check_settings

if TYPE_CHECKING:
    from amago_jax.runs.run import Run

    AnyRun = TypeVar("AnyRun", bound=Run)
Result = TypeVar("Result")


def parts_of(run: "Run", *, only_learner: bool = False) -> dict[str, Any]:
    """Return what a checkpoint of a run holds, whole in every process.

    Args:
        run: the run.
        only_learner: leave out what is none of the learner's.
    """
    if only_learner or run.only_learner:
        return _whole(run, {STATE: run.learner})
    state = run.state
    experience = state.experience
    if not run.config.checkpoint.get("replay", True):
        experience = dataclasses.replace(experience, replay=None)  # type: ignore[arg-type]
    rest = {"experience": experience, "transitions": state.transitions, "key": state.key}
    return _whole(run, {STATE: run.learner, REST: rest})


def progress_of(run: "Run") -> dict[str, Any]:
    """Return how far a run is: its last row, and those with the last evaluations before."""
    evaluated = [row for row in run.rows if RETURN in row][-run.config.stop.evaluations :]
    rows = [*(row for row in evaluated if row is not run.rows[-1]), *run.rows[-1:]]
    found: dict[str, Any] = {"rows": rows}
    if evaluated:
        found[RETURN] = evaluated[-1][RETURN]
    return found


def first_readable(
    directory: str | Path,
    step: int | str,
    make: Callable[[DictConfig, int], Result],
    part: str = STATE,
) -> Result:
    """Make something of a checkpoint, and where the newest are damaged, of the one before.

    Args:
        directory: a run's folder.
        step: a checkpoint's number, "newest" or "best".
        make: makes it of the configuration that was saved, and the step.
        part: what it is made of; of the newest, those without it are passed over.

    Raises:
        CheckpointError: if there is no readable checkpoint.
    """
    folder = Path(directory) / "checkpoints"
    found = checkpoints.candidates(folder, step)
    having = [number for number in found if checkpoints.has_part(folder, part, step=number)]
    if not having:
        raise CheckpointError(
            f"checkpoint {folder / str(found[0])} holds the learner alone, so that training cannot "
            "go on from it; load_run(..., ['run_dir=...']) begins a new run with its weights"
        )

    def read(number: int) -> Result:
        saved = checkpoints.read_config(folder, step=number)
        # Runs saved before there was a choice computed in float32.
        return make(OmegaConf.create({"dtype": "float32", **saved}), number)

    return newest_first(having, read)


def newest_first(steps: Sequence[int], make: Callable[[int], Result]) -> Result:
    """Make something of the first of some steps that is not damaged.

    Raises:
        DamagedError: if all are.
    """
    for number, other in zip(steps, [*steps[1:], None], strict=True):
        try:
            return make(number)
        except DamagedError as error:
            if other is None:
                raise
            warnings.warn(f"{error}; taking step {other}, the one before", stacklevel=4)
    raise AssertionError("there is a step, or the caller has raised")


def common_steps(folders: Sequence[Path]) -> list[int]:
    """Return the steps, newest first, from which all runs can go on whose checkpoints these hold.

    Raises:
        CheckpointError: if there are none.
    """
    found = [
        {
            step
            for step in checkpoints.steps(folder)
            if checkpoints.has_part(folder, REST, step=step)
        }
        for folder in folders
    ]
    common = set.intersection(*found)
    if not common:
        raise CheckpointError(
            f"the runs in {folders[0].parents[1]} have no checkpoint of the same epoch, from which "
            "they could go on together"
        )
    return sorted(common, reverse=True)


def _with_rest(folder: Path) -> set[int]:
    steps = checkpoints.steps(folder)
    return {step for step in steps if checkpoints.has_part(folder, REST, step=step)}


def changed(config: DictConfig, overrides: Sequence[str], directory: str | Path) -> DictConfig:
    """Return a saved configuration with changes.

    Args:
        config: what was saved.
        overrides: of settings that are there.
        directory: the run's folder, unless an override names another.

    Raises:
        ConfigError: if an override is wrong.
    """
    config = config.copy()
    config.run_dir = str(directory)
    OmegaConf.set_struct(config, True)
    for override in overrides:
        name = override.partition("=")[0]
        if OmegaConf.is_dict(OmegaConf.select(config, name)):
            first = next((key for key in config[name] if not str(key).startswith("_")), "...")
            raise ConfigError(
                f"{override}: {name} as a whole is what was saved; change a setting of it, "
                f"such as {name}.{first}"
            )
    try:
        config.merge_with_dotlist(list(overrides))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"overrides={list(overrides)}: {reason}") from error
    check_settings(config)
    found = jax.device_count()
    if config.get("devices") is not None and config.devices > found:
        warnings.warn(f"devices={config.devices}, but here are {found}, which serve", stacklevel=3)
        config.devices = None
    return config


def resumed(run: "AnyRun", step: int) -> "AnyRun":
    """Give a new run the state, and the rows, that its folder holds.

    Args:
        run: built from the configuration of the checkpoint.
        step: of the checkpoint.

    Raises:
        CheckpointError: see `Run.resume`.
    """
    run.rows = rows_of(run, step)
    run.state = restore_state(run, step)
    run.resumed_step = step
    done = run.next_epoch - 1
    if run.config.epochs < done:
        raise ConfigError(
            f"epochs={run.config.epochs}, but the run in {run.directory} has trained {done}"
        )
    return run


def restore_state(run: "Run", step: int) -> TrainState:
    """Return the training state of a checkpoint in a run's folder, placed on the run's devices.

    Raises:
        CheckpointError: see `Run.resume`.
    """
    folder, shapes = run.directory / "checkpoints", run.trainer.shapes()
    entries = checkpoints.read_entries(checkpoints.step_folder(folder, step), REST)
    (devices,) = entries["experience/rollout/steps"]["shape"]
    replay = "experience/replay/written" in entries
    experience = shapes.experience
    if not replay:
        experience = dataclasses.replace(experience, replay=None)  # type: ignore[arg-type]
    like = {
        "experience": jax.eval_shape(lambda x: spread(x, devices), experience),
        "transitions": shapes.transitions,
        "key": shapes.key,
    }
    rest = checkpoints.restore(folder, _bare(like), step=step, part=REST)
    if devices != run.trainer.devices:
        rest["experience"] = spread(rest["experience"], run.trainer.devices)
    learner = checkpoints.restore(folder, _bare(shapes.learner), step=step)
    found = TrainState(learner=learner, **rest)
    if replay:
        return place(found, shapes)
    return _refilled(run, found)


def _refilled(run: "Run", found: TrainState) -> TrainState:
    """Place a state that was saved without its replay, and fill that as far as it was."""
    state = run.trainer.init(run.init_key)
    experience = dataclasses.replace(found.experience, replay=state.experience.replay)
    state = place(dataclasses.replace(found, experience=experience), run.trainer.shapes())
    trained = run.next_epoch - 1
    full = -(-run.trainer.replay.capacity // run.trainer.rollout_steps)
    for _ in range(min(trained, full)):
        state = run.trainer.fill(state)
    return state


def rows_of(run: "Run", step: int) -> list[dict[str, float]]:
    """Return a run's rows up to a checkpoint: all, if its folder has them, or the last ones."""
    last = checkpoints.read_progress(run.directory / "checkpoints", step=step)["rows"]
    path = run.directory / METRICS_FILE
    if last and path.exists():
        rows = [row for row in read_jsonl(path) if row["epoch"] <= last[-1]["epoch"]]
        if len(rows) == last[-1]["epoch"]:
            return rows
    return last


def _bare(shapes: Any) -> Any:
    """Leave out where arrays lie: what was saved is read whole."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), shapes)


def _whole(run: "Run", tree: Any) -> Any:
    """Return a tree whose arrays every process has whole."""
    if jax.process_count() == 1:
        return tree
    whole = _gather(NamedSharding(run.trainer.mesh, SHARED))(tree)
    # Arrays of this process alone, with which it may compute without the others.
    return jax.tree.map(lambda x: x.addressable_data(0), whole)


@functools.cache
def _gather(sharding: NamedSharding) -> Any:
    """Return what copies trees to where a sharding says, the same function each time."""
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=sharding)
