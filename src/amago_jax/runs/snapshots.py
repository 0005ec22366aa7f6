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
from omegaconf import DictConfig

from amago_jax.errors import CheckpointError, DamagedError, FileError
from amago_jax.learning import TrainState
from amago_jax.learning.experience import place, spread
from amago_jax.parallel import SHARED
from amago_jax.reports.row_store import RowStore
from amago_jax.reports.rows import METRICS_FILE, read_jsonl
from amago_jax.runs import checkpoints
from amago_jax.runs.changing import check_epochs
from amago_jax.runs.checkpoints import REST, RETURN, STATE, Checkpoint
from amago_jax.runs.saved import trusted

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


def keep_last_good(run: "Run") -> str:
    """Save the agent of a run that cannot go on, if it has learned, and say what there is now."""
    kept = f"checkpoints and metrics saved before are intact in {run.directory}"
    if checkpoints.latest_step(run.saver.directory) is None:
        kept = f"no checkpoint was saved before, metrics are intact in {run.directory}"
    if int(run.learner.updates) == 0:
        return kept
    try:
        # Environments and replay have moved on, and may be what failed.
        path = run.save_parts(parts_of(run, only_learner=True))
    except CheckpointError as reason:
        return f"the last good agent was not saved: {reason}; {kept}"
    return f"the last good agent is saved in {path}, and {kept}"


def progress_of(run: "Run") -> dict[str, Any]:
    """Return how far a run is: its last row, and those with the last evaluations before."""
    last = len(run.rows) - 1
    evaluated = run.rows.numbers_of_rows([RETURN], newest=run.config.stop.evaluations)
    numbers = sorted({*evaluated, last} - {-1})
    found: dict[str, Any] = {"rows": [run.rows[number] for number in numbers]}
    if evaluated:
        found[RETURN] = run.rows[evaluated[-1]][RETURN]
    if run.changes.made:
        found["changes"] = run.changes.made
    return found


def first_readable(
    directory: str | Path,
    step: int | str,
    make: Callable[[DictConfig, Checkpoint], Result],
    part: str = STATE,
    imports: Sequence[str] = (),
) -> Result:
    """Make something of a checkpoint, and where the newest are damaged, of the one before.

    Args:
        directory: a run's folder.
        step: a checkpoint's number, "newest" or "best".
        make: makes it of the configuration that was saved, and the checkpoint.
        part: what it is made of; of the newest, those without it are passed over.
        imports: see `amago_jax.runs.saved.trusted`.

    Raises:
        CheckpointError: if there is no readable checkpoint.
    """
    folder = Path(directory) / "checkpoints"

    def read(number: int) -> tuple[Result] | None:
        checkpoint = checkpoints.open_step(folder, number)
        if not checkpoint.has(part):
            return None
        # Runs saved before there was a choice computed in float32.
        saved = {"dtype": "float32", **checkpoint.config}
        return (make(trusted(saved, checkpoint.folder / "config", imports), checkpoint),)

    found = newest_first(checkpoints.candidates(folder, step), read)
    if found is None:
        newest = checkpoints.candidates(folder, step)[0]
        raise CheckpointError(
            f"checkpoint {folder / str(newest)} holds the learner alone, so that training cannot "
            "go on from it; load_run(..., ['run_dir=...']) begins a new run with its weights"
        )
    return found[0]


def newest_first(steps: Sequence[int], make: Callable[[int], Result | None]) -> Result | None:
    """Make something of the first of some steps that is not damaged; warn of those that are.

    Args:
        steps: in order.
        make: returns what it makes of one; None: that one is passed over.

    Returns:
        What was made; None if all were passed over.

    Raises:
        DamagedError: if none was made, and some are damaged.
    """
    damaged: list[DamagedError] = []
    for number in steps:
        try:
            found = make(number)
        except DamagedError as error:
            damaged.append(error)
            continue
        if found is not None:
            for problem in damaged:
                warnings.warn(f"{problem}; taking step {number}, from before", stacklevel=4)
            return found
    if damaged:
        raise damaged[0]
    return None


def common_steps(folders: Sequence[Path]) -> list[int]:
    """Return the steps, newest first, from which all runs can go on whose checkpoints these hold.

    Whether the damaged ones are such is found out by who reads them.

    Raises:
        CheckpointError: if there are none.
    """
    found = [
        {
            step
            for step in checkpoints.steps(folder)
            if checkpoints.may_have(folder, REST, step=step)
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


def resumed(run: "AnyRun", checkpoint: Checkpoint) -> "AnyRun":
    """Give a new run the state, and the rows, that its folder holds.

    Args:
        run: built from the configuration of the checkpoint.
        checkpoint: in its folder.

    Raises:
        CheckpointError: see `Run.resume`.
        ConfigError: if it is to have fewer epochs than it has had.
    """
    run.rows = rows_of(run, checkpoint)
    check_epochs(run.config, run.next_epoch - 1)
    run.state = restore_state(run, checkpoint)
    run.resumed_step = checkpoint.step
    run.changes.restore(checkpoint, run.config, run.next_epoch - 1)
    run.health.remember(run.rows)
    return run


def is_over(config: DictConfig, rows: RowStore) -> bool:
    """Whether a run with such rows has trained all epochs, or meets the stop criterion."""
    done = rows[-1]["epoch"] if rows else 0
    return done >= config.epochs or is_met(config, rows)


def is_met(config: DictConfig, rows: RowStore) -> bool:
    """Whether a run with such rows meets the stop criterion."""
    stop = config.stop
    if stop["return"] is None:
        return False
    last = rows.newest(RETURN, stop.evaluations)
    return len(last) == stop.evaluations and min(last) >= stop["return"]


def restore_state(run: "Run", checkpoint: Checkpoint) -> TrainState:
    """Return the training state of a checkpoint, placed on the run's devices.

    Raises:
        CheckpointError: see `Run.resume`.
    """
    shapes, entries = run.trainer.shapes(), checkpoint.entries(REST)
    if "experience/rollout/steps" not in entries:
        raise CheckpointError(f"checkpoint {checkpoint.folder} is of another kind of run")
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
    rest = checkpoint.restore(_bare(like), REST)
    if devices != run.trainer.devices:
        rest["experience"] = spread(rest["experience"], run.trainer.devices)
    learner = checkpoint.restore(_bare(shapes.learner))
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


def rows_of(run: "Run", checkpoint: Checkpoint) -> RowStore:
    """Return a run's rows up to a checkpoint: all, if its folder has them, or the last ones.

    Raises:
        FileError: if the file of metrics is malformed.
    """
    last = checkpoint.progress.get("rows", [])
    path = run.directory / METRICS_FILE
    if not last or not path.exists():
        return RowStore(last)
    rows = RowStore()
    for number, row in enumerate(read_jsonl(path), start=1):
        if not isinstance(row.get("epoch"), int | float):
            raise FileError(f"{path}, line {number}: not the metrics of an epoch")
        if row["epoch"] <= last[-1]["epoch"]:
            try:
                rows.append(row)
            except (TypeError, ValueError) as error:
                raise FileError(f"{path}, line {number}: not metrics: {error}") from error
    return rows if len(rows) == last[-1]["epoch"] else RowStore(last)


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
