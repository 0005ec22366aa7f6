"""Thousands of overrides drawn from the schema: run, or answered in one sentence; never else."""

import collections
import functools

import hypothesis
import jax
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from amago_jax.errors import ConfigError, UserError
from amago_jax.runs.config import compose
from amago_jax.runs.run import make_run
from amago_jax.runs.schema import check_settings, settings_of
from amago_jax.settings import kind_of
from tiny_runs import LEAST, MAZE_WITHOUT_MEMORY, TINY
from values import invalid, valid

pytestmark = pytest.mark.faults

BASES = {
    "tmaze": TINY,
    "without memory": LEAST,
    "maze": [*MAZE_WITHOUT_MEMORY, "hindsight=some", "agent=multitask", "exploration=bilevel"],
    "recurrent": [
        "env=meta/wind",
        "env.attempt_limit=9",
        "rollout_steps=12",
        "context_length=9",
        "trajectory_encoder=gru",
        "trajectory_encoder.hidden_size=8",
        "advantage_filter=exponential",
        "actor=residual",
        "actor.width=8",
        "envs=4",
        "batch_size=4",
        "updates=2",
        "evaluation.episodes=4",
        "replay.capacity=40",
        "distribution=beta",
    ],
}
# What reaches beyond the run, or makes several of it.
# These name modules and classes, which must be there.
OWN_PARTS = ("imports", "extra_losses")
ELSEWHERE = ("resume", "run_dir", "grid", "seeds", "compilation_cache.", "distributed.", "sweep.")
RUNS = 200
WITHOUT_SHRINKING = hypothesis.settings(
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@functools.cache
def schema(name):
    found = settings_of(compose(BASES[name]))
    return {key: kind_of(one.annotation) for key, one in sorted(found.items())}


def written(value):
    """Return a value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{written(one)}' for key, one in value.items())}}}"
    return repr(value)


@pytest.mark.parametrize("name", BASES)
@hypothesis.settings(WITHOUT_SHRINKING, max_examples=500)
@given(data=st.data())
def test_random_overrides_are_accepted_or_named(name, data):
    key = data.draw(st.sampled_from(list(schema(name))))
    right, wrong = data.draw(valid(schema(name)[key])), data.draw(invalid(schema(name)[key]))
    if key not in OWN_PARTS:
        check_settings(compose([*BASES[name], f"++{key}={written(right)}"]))
    with pytest.raises(ConfigError) as caught:
        check_settings(compose([*BASES[name], f"++{key}={written(wrong)}"]))
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def outcome(overrides, folder):
    """Train for an epoch, and return what came of it: a sentence, or nothing."""
    try:
        rows = list(make_run([*overrides, "epochs=1"], folder).epochs())
    except UserError as error:
        return type(error).__name__ if "\n" not in str(error) else "said in more than a line"
    assert len(rows) == 1
    return "ran"


def test_what_the_schema_allows_runs_or_is_answered(tmp_path):
    outcomes = collections.Counter()

    @hypothesis.settings(WITHOUT_SHRINKING, max_examples=2 * RUNS)
    @given(data=st.data())
    def run_one(data):
        name = data.draw(st.sampled_from(list(BASES)))
        free = [key for key in schema(name) if not key.startswith(ELSEWHERE + OWN_PARTS)]
        keys = data.draw(st.lists(st.sampled_from(free), min_size=1, max_size=2, unique=True))
        given = {key: data.draw(valid(schema(name)[key], most=6)) for key in keys}
        if outcomes["ran"] >= RUNS:  # only now: what is drawn may not depend on what came before
            return
        overrides = [f"++{key}={written(value)}" for key, value in given.items()]
        outcomes[outcome([*BASES[name], *overrides], tmp_path / str(outcomes.total()))] += 1
        if outcomes.total() % 20 == 0:
            jax.clear_caches()  # programs hold memory maps, and a process can have only so many
            print(outcomes, overrides, flush=True)

    run_one()
    print(outcomes)
    assert outcomes["ran"] >= RUNS
    assert outcomes.keys() <= {"ran", "ConfigError", "TrainingError"}
