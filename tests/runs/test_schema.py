"""Every setting of a configuration is checked against the schema, before anything is built."""

import functools

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.runs.config import CONF_DIR, compose, parse_overrides
from amago_jax.runs.members import members
from amago_jax.runs.schema import GIVEN, TABLES, check_settings, settings_of
from amago_jax.settings import kind_of
from values import invalid, valid

BASES = {
    "default": [],
    "maze": [
        "env=goals/maze_runner",
        "agent=multitask",
        "actor=residual",
        "advantage_filter=leaky_relu",
        "trajectory_encoder=transformer_sink",
        "timestep_encoder=impala",
        "exploration=bilevel",
        "seeds=2",
    ],
    "wind": [
        "env=meta/wind",
        "trajectory_encoder=mamba",
        "timestep_encoder=tokens",
        "advantage_filter=exponential",
        "exploration=plain",
        "distribution=beta",
    ],
}


@functools.cache
def base(name="default"):
    return compose(BASES[name])


def changed(config, *overrides):
    """Return a configuration with overrides, as the command line's grammar reads their values."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for parsed in parse_overrides(overrides):
        OmegaConf.update(config, parsed.key_or_group, parsed.value(), merge=False)
    return config


@functools.cache
def schema(name):
    return {key: one.annotation for key, one in settings_of(base(name)).items()}


def changed_to(name, key, value):
    config = base(name).copy()
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, value, merge=False)
    return config


@pytest.mark.parametrize("name", BASES)
@hypothesis.settings(max_examples=70, deadline=None)
@given(data=st.data())
def test_what_the_schema_allows_is_accepted_and_all_else_is_named(name, data):
    key = data.draw(st.sampled_from(sorted(schema(name))))
    kind = kind_of(schema(name)[key])
    assert kind is not None, f"{key} may be anything"
    value = data.draw(valid(kind), label=key)
    check_settings(changed_to(name, key, value))
    wrong = data.draw(invalid(kind), label=key)
    with pytest.raises(ConfigError) as caught:
        check_settings(changed_to(name, key, wrong))
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


# Kinds of mistakes that once ended in a traceback, or in silence.
WRONG = {
    "agent.popart=yes": "agent.popart='yes' must be true or false",
    "evaluation.greedy=1": "evaluation.greedy=1 must be true or false",
    "greedy_rollouts=maybe": "greedy_rollouts='maybe' must be true or false",
    "env.corridor_length=true": "env.corridor_length=True must be a whole number of at least 1",
    "logger.console=null": "logger.console=None must be true or false",
    "agent.tau=nan": "agent.tau=nan must be a finite number above 0 and at most 1",
    "optimizer.learning_rate=inf": "optimizer.learning_rate=inf must be a finite number above 0",
    "optimizer.learning_rate=1e39": "optimizer.learning_rate=1e.39 must be a finite number",
    "optimizer.weight_decay=nan": "optimizer.weight_decay=nan must be a finite number",
    "stop.return=nan": "stop.return=nan must be a finite number, or null",
    "stop.return=abc": "stop.return='abc' must be a number, or null",
    "env.penalty=nan": "env.penalty=nan must be a finite number of at most 0, or null",
    "advantage_filter.threshold=nan": "advantage_filter.threshold=nan must be a finite number",
    "agent.offline_coeff=-1": "agent.offline_coeff=-1 must be a number of at least 0",
    "agent.online_coeff=-0.5": "agent.online_coeff=-0.5 must be a number of at least 0",
    "agent.critic_loss_weight=-2": "agent.critic_loss_weight=-2 must be a number of at least 0",
    "agent.reward_multiplier=0": "agent.reward_multiplier=0 must be a number above 0",
    "agent.gammas=[0.9,0.5]": "agent.gammas=.* each greater than the one before",
    "agent.gammas=0.9": "agent.gammas=0.9 must be a list of numbers from 0 to below 1",
    "agent.gammas=[0.9,0.999999999]": "agent.gammas=.* from 0 to below 1",
    "agent.layers=-1": "agent.layers=-1 must be a whole number from 0 to 1000",
    "agent.layers=1000000000": "agent.layers=1000000000 must be a whole number from 0 to 1000",
    "agent.hidden_size=-64": "agent.hidden_size=-64 must be a whole number of at least 1",
    "agent.n_step=100000": "agent.n_step=100000 must be a whole number from 1 to 1000",
    "agent.activation=swoosh": "agent.activation='swoosh' must be one of leaky_relu, relu",
    "actor.layers=2.0": "actor.layers=2.0 must be a whole number",
    "timestep_encoder.output_size=0": "timestep_encoder.output_size=0 must be a whole number",
    "timestep_encoder.observation_keys=[]": "timestep_encoder.observation_keys=.. must be a list",
    "timestep_encoder.observation_keys=a": "timestep_encoder.observation_keys='a' must be a list",
    "trajectory_encoder.dropout=2": "trajectory_encoder.dropout=2 must be a number from 0 to",
    "trajectory_encoder.dropout=-0.1": "trajectory_encoder.dropout=-0.1 must be a number from 0",
    "trajectory_encoder.heads=0": "trajectory_encoder.heads=0 must be a whole number of at least 1",
    "trajectory_encoder.width=-8": "trajectory_encoder.width=-8 must be a whole number",
    "trajectory_encoder.window=half": "trajectory_encoder.window='half' must be .*, or null",
    "trajectory_encoder.sink=-1": "trajectory_encoder.sink=-1 must be a whole number of at least 0",
    "exploration.start=[1,2,3]": "exploration.start=.1, 2, 3. must be a list of 2 numbers from 0",
    "exploration.start=[1.5,0.1]": "exploration.start=.* must be a list of 2 numbers from 0 to 1",
    "exploration.anneal_steps=2.5": "exploration.anneal_steps=2.5 must be a whole number",
    "exploration.randomize=on": "exploration.randomize='on' must be true or false",
    "distribution.discrete={clip_low:2}": "distribution.discrete.clip_low=2 must be a number from",
    "distribution.discrete={cliplow:0}": "distribution.discrete has no setting 'cliplow' .*clip_",
    "distribution.name=gauss": "distribution.name='gauss' must be one of natural, discrete",
    "hindsight.strategy=5": "hindsight.strategy=5 must be one of none, some",
    "replay.capacity=1e4": "replay.capacity=10000.0 must be a whole number",
    "envs=1e13": "envs=10000000000000.0 must be a whole number",
    "envs=10000000000000": "envs=10000000000000 must be a whole number from 1 to 2147483647",
    "context_length=0": "context_length=0 must be a whole number of at least 1, or null",
    "devices=-1": "devices=-1 must be a whole number of at least 1, or null",
    "seed=4294967296": "seed=4294967296 must be a whole number from 0 to 4294967295",
    "seed=-1": "seed=-1 must be a whole number from 0",
    "seed=340282366920938463463374607431768211456": "seed=3402.* must be a whole number from 0",
    "seed=true": "seed=True must be a whole number",
    "seeds=[1,4294967297]": "seeds=.1, 4294967297. must be",
    "evaluation.every=null": "evaluation.every=None must be a whole number",
    "evaluation=5": "evaluation=5 is no setting, but evaluation.every is",
    "agent=null": "agent is missing: give agent=<a choice>",
    "agent._target_=nowhere.at_all": r"agent\._target_=.* no module .nowhere",
    "run_dir=''": "run_dir='' must be a text that is not empty, or null",
    "distributed.timeout=0": "distributed.timeout=0 must be a whole number",
    "sweep.average=0": "sweep.average=0 must be a whole number",
    "compilation_cache.folder=3": "compilation_cache.folder=3 must be a text",
    "label=true": "label=True must be a text that is not empty, a number, or null",
    # Names that do not exist.
    "agent.taw=1": r"agent has no setting 'taw' \(=1\): did you mean tau",
    "exploration.end=[1,0]": "exploration has no setting 'end'.* choose from anneal_steps",
    "evaluation.evry=1": "no setting 'evaluation.evry'; did you mean evaluation.every",
    "epoch=3": "no setting 'epoch'; did you mean epochs",
    "tau=0.1": "no setting 'tau'; did you mean tau|no setting 'tau'",
    "env.corridor_lenght=3": "has no setting 'corridor_lenght' .* did you mean corridor_length",
    "trajectory_encoder.context_length=5": "has no setting 'context_length'",
    # What leads nowhere.
    "epochs='${nothing}'": "epochs: Interpolation key 'nothing' not found",
    "epochs='${agent.tau}'": "epochs=0.003 must be a whole number",
}


@pytest.mark.parametrize("override", WRONG)
def test_mistakes_are_named(override):
    with pytest.raises(ConfigError, match=WRONG[override]) as caught:
        check_settings(changed(base(), override))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "optimizer.clip_norm=inf",
        "exploration.anneal_steps=1e6",
        "exploration.horizon=9",
        "agent.tau=1",
        "seed=4294967295",
        "label=2024",
        "epochs='${evaluation.every}'",
        "distribution.discrete={clip_low:0.01}",
        "distribution.clip_low=0.01",
        "trajectory_encoder.window=3",
        "run_dir='runs/${hydra:job.num}/${seed}'",  # which only the run itself can tell
    ],
)
def test_what_is_meant_is_accepted(override):
    check_settings(changed(base(), override))


@pytest.mark.parametrize(
    "name",
    ["epochs", "agent", "evaluation.episodes", "replay.capacity", "seed", "distributed.timeout"],
)
def test_what_is_left_out_is_named(name):
    config = base().copy()
    OmegaConf.set_struct(config, False)
    section, _, key = name.rpartition(".")
    del (OmegaConf.select(config, section) if section else config)[key]
    with pytest.raises(ConfigError, match=f"{name} is missing"):
        check_settings(config)


@pytest.mark.parametrize("kind", TABLES)
def test_every_file_at_the_top_of_conf_fits_its_table(kind):
    given = {"evaluate": ["checkpoint=runs/a"], "plot": ["runs=[a]"], "report": ["folders=[a]"]}
    config = compose(given.get(kind, []), kind)
    check_settings(config, kind)
    known = {key.partition(".")[0] for key in TABLES[kind]}
    assert {str(key) for key in config} - GIVEN.keys() <= known
    if kind in given:
        with pytest.raises(ConfigError, match="is missing: give"):
            check_settings(compose([], kind), kind)


def test_every_file_at_the_top_of_conf_has_a_table():
    assert {path.stem for path in CONF_DIR.glob("*.yaml")} == TABLES.keys()


@pytest.mark.parametrize(
    ("kind", "override", "sentence"),
    [
        ("evaluate", "episodes=0", "episodes=0 must be a whole number of at least 1"),
        ("evaluate", "step=last", "step='last' must be one of newest, best, or a whole number"),
        ("evaluate", "render=yes", "render='yes' must be true or false"),
        ("plot", "runs=[]", r"runs=\[\] must be a text that is not empty, or a list of texts"),
        ("report", "confidence=95", "confidence=95 must be a number above 0 and below 1"),
        ("estimate", "measure=1", "measure=1 must be true or false"),
        ("benchmark", "benchmark.repeats=0", "benchmark.repeats=0 must be a whole number"),
        ("benchmark_envs", "copies=[0]", r"copies=\[0\] must be a list of whole numbers"),
        ("benchmark_decoding", "filled=[2]", r"filled=\[2\] must be a list of numbers from 0"),
        ("benchmark_attention", "backends=[flash]", r"backends=\['flash'\] must be a list of one"),
    ],
)
def test_commands_name_what_is_wrong_with_theirs(kind, override, sentence):
    given = {"evaluate": ["checkpoint=runs/a"], "plot": ["runs=[a]"], "report": ["folders=[a]"]}
    with pytest.raises(ConfigError, match=sentence):
        check_settings(changed(compose(given.get(kind, []), kind), override), kind)


def test_seeds_in_a_row_end_where_seeds_do():
    config = changed(base(), "run_dir=runs/here", "seeds=2", "seed=4294967294")
    assert [one.seed for one in members(config)] == [4294967294, 4294967295]
    with pytest.raises(ConfigError, match="seeds=3 from seed=4294967294 on: the last=4294967296"):
        members(changed(config, "seeds=3"))


def test_a_part_of_ones_own_is_checked_by_its_annotations():
    part = {"_target_": f"{__name__}.make_own", "rate": 0.5, "layers": 2, "after": "anything"}
    check_settings(changed_to("default", "optimizer", part))
    for name, wrong in (("rate", "nan"), ("layers", 2.5), ("layer", 1)):
        with pytest.raises(ConfigError, match=name):
            check_settings(changed_to("default", "optimizer", {**part, name: wrong}))


def make_own(rate: float, layers: int = 1, limit: float = float("inf"), after: object = None):
    """An optimizer of one's own, as far as its settings go."""
