"""What is compiled is shared by runs that differ in numbers, and goes with the last of a kind."""

import contextlib
import gc
from pathlib import Path

import jax
import pytest

from amago_jax import make_run
from amago_jax.learning.programs import KEPT
from compilations import compiled_programs
from tiny_runs import LEAST, TINY, TINY_MAZE, tiny_run

# Told anew to every run, but no reason to compile: by what it changes.
NUMBERS = {
    "seed": ["seed=7"],
    "label and folder": ["label=other"],
    "epochs and stopping": ["epochs=3", "stop.return=100", "stop.evaluations=2"],
    "evaluation's and checkpoints' intervals": ["evaluation.every=2", "checkpoint.every=3"],
    "optimizer": ["optimizer.learning_rate=0.1", "optimizer.weight_decay=0.2"],
    "clip and warm-up": ["optimizer.clip_norm=0.5", "optimizer.warmup_updates=7"],
    "tau": ["agent.tau=0.5"],
    "weights of losses": ["agent.offline_coeff=0.3", "agent.critic_loss_weight=2.0"],
    "reward multiplier": ["agent.reward_multiplier=3.0"],
    "exploration": ["exploration.anneal_steps=9", "exploration.start=[0.5,0.25]"],
    "whole numbers": [
        "agent.reward_multiplier=3",
        "optimizer.clip_norm=2",
        "exploration.start=[1,0]",
    ],
}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("first"))
    use(run)
    return run


def use(run):
    """Do what a notebook does with a run."""
    run.compile()
    next(run.epochs())
    run.evaluate()
    jax.device_get(run.policy.state.popart)


@pytest.mark.parametrize("changed", NUMBERS)
def test_a_run_with_other_numbers_compiles_nothing(first, changed, tmp_path):
    run = tiny_run(tmp_path, *NUMBERS[changed])
    with compiled_programs() as programs:
        use(run)
    assert programs == []
    assert run.trainer.programs is first.trainer.programs


def test_the_numbers_are_those_of_the_run(first, tmp_path):
    """Shared programs must not hold the numbers of whoever compiled them."""
    frozen = tiny_run(tmp_path / "frozen", "optimizer.learning_rate=1e-30")
    still = tiny_run(tmp_path / "still", "agent.tau=1e-30")
    before = jax.device_get(frozen.learner.agent)
    for run in (frozen, still):
        for _ in run.epochs():
            break
        run.state, _ = run.trainer.train_epoch(run.state)
    actor = ("mlp", "output", "dense", "kernel")

    def kernel(tree):
        for name in actor:
            tree = tree[name]
        return tree

    def moved(after, part):
        old, new = (kernel(getattr(state, part)["actor"]) for state in (before, after))
        return abs(new - old).max()

    assert moved(frozen.learner.agent, "params") == 0.0
    assert moved(still.learner.agent, "params") > 1e-6
    assert moved(still.learner.agent, "target_params") == 0.0
    assert first.trainer.programs is frozen.trainer.programs is still.trainer.programs


LARGE = {"jit(init)", "jit(train_epoch)", "jit(evaluate)"}


def names(programs):
    return [program.partition(" ")[0] for program in programs]


def test_what_is_compiled_beforehand_is_what_runs(tmp_path):
    run = make_run(LEAST, run_dir=tmp_path)
    with compiled_programs() as programs:
        seconds = run.compile()
        beforehand = names(programs)
        assert set(beforehand) >= LARGE
        row = next(run.epochs())
    assert set(names(programs[len(beforehand) :])) & LARGE == set()
    assert row["time/compile_seconds"] == seconds > 0


def test_rates_and_the_time_to_go_leave_compiling_out(first, tmp_path):
    run = tiny_run(tmp_path, "epochs=3")
    run.compile()
    run.compile_seconds = 1e6
    for row in run.epochs():
        assert row["time/compile_seconds"] == 1e6
        assert row["time/seconds"] < 1e4
        assert row["time/eta_seconds"] < 1e4
        assert row["time/updates_per_second"] > 1e-3


@pytest.mark.parametrize("changed", ["updates=2", "env.corridor_length=5", "agent.n_step=2"])
def test_another_shape_or_branch_is_another_program(first, changed, tmp_path):
    assert tiny_run(tmp_path, changed).trainer.programs is not first.trainer.programs


OTHER_MEMORY = [item for item in TINY if "trajectory_encoder" not in item]
KINDS_OF_RUNS = {
    "AMAGO": TINY,
    "AMAGO-2 with rarity": [*TINY_MAZE, "agent=multitask", "hindsight=rarity"],
    "Mamba": [
        *OTHER_MEMORY,
        "trajectory_encoder=mamba",
        "trajectory_encoder.width=16",
        "trajectory_encoder.layers=1",
    ],
}


@contextlib.contextmanager
def checking_leaks():
    """`jax.checking_leaks`, which looks for garbage, and for tracers, hundreds of times.

    What was there before holds no tracer of a trace that is yet to come, and is left out.
    """
    gc.collect()
    gc.freeze()
    try:
        with jax.checking_leaks():
            yield
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("kind", KINDS_OF_RUNS)
def test_nothing_of_a_trace_is_left_outside_of_it(kind, tmp_path):
    trainer = make_run(KINDS_OF_RUNS[kind], run_dir=tmp_path).trainer
    key, state = jax.random.key(0), trainer.shapes()
    with checking_leaks():
        jax.eval_shape(trainer.traced_init, key)
        jax.eval_shape(trainer.traced_epoch, state)
        jax.eval_shape(trainer.traced_evaluation, state.learner.agent, key)


def test_what_is_left_outside_of_a_trace_is_found():
    left = []
    with checking_leaks(), pytest.raises(Exception, match="Leaked"):
        jax.eval_shape(left.append, 1.0)


def test_programs_of_runs_that_are_gone_are_let_go(tmp_path):
    def maps():
        gc.collect()
        return len(Path("/proc/self/maps").read_text().splitlines())

    counts = []
    for number in range(KEPT + 2):
        run = make_run([*LEAST, f"updates={number + 4}"], run_dir=tmp_path / str(number))
        use(run)
        del run
        counts.append(maps())
    # The last few are kept; from then on, nothing is added. One run's programs are hundreds.
    growth = counts[KEPT - 1] - counts[0]
    assert growth > 100
    assert counts[-1] - counts[KEPT - 1] < growth / 12
