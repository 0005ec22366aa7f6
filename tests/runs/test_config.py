"""Composing and checking configurations: what is wrong is said in one sentence, early."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.runs.building import build
from amago_jax.runs.changing import changed
from amago_jax.runs.composing import compose_sooner
from amago_jax.runs.config import (
    CONF_DIR,
    Sources,
    choices,
    compose,
    offer_environments,
    open_settings,
)
from in_process import SCRIPTS, run_script

WRONG = {
    "sed=1": r"no setting 'sed'; did you mean seed",
    "agent.taus=0.1": r"no setting 'agent.taus'; did you mean .*agent.tau",
    "tau=0.1": r"no setting 'tau'; did you mean agent.tau",
    "env=tmaze/pasive": r"env=tmaze/pasive does not exist; did you mean .*tmaze/passive",
    "env=gymnax/CartPol-v1": r"env=gymnax/CartPol-v1 .* did you mean .*gymnax/CartPole-v1",
    "env=quux/tally": r"env=quux/tally does not exist; .* imports=\[my_module\].* env=\? lists",
    "experiment=tmaz": r"experiment=tmaz does not exist; did you mean tmaze",
    "sweep=ablatoin": "sweep=ablatoin does not exist; "
    r"did you mean ablation or ablation_maze or ablation_recall\?",
    "trajectory_encoder=lstm": r"trajectory_encoder=lstm does not exist",
    "trajectory_encoder.heads=5": r"trajectory_encoder: heads=5 does not divide width=64",
    "trajectory_encoder=gru trajectory_encoder.heads=4": r"^trajectory_encoder=gru has no setting "
    r"'heads'; choose from hidden_size, layers,",
    "trajectory_encoder='gru' trajectory_encoder.hiden_size=4": r"^trajectory_encoder=gru has no "
    r"setting 'hiden_size'; did you mean hidden_size\?$",
    "trajectory_encoder=identity trajectory_encoder.heads=4": r"^trajectory_encoder=identity has "
    r"no setting 'heads'$",
    "ablation=gru trajectory_encoder.heads=4": r"^what is chosen for trajectory_encoder has no "
    r"setting 'heads'; --cfg job shows it$",
    "optimizer.learning_rate=1e-3,1e-4": r"^optimizer.learning_rate=1e-3,1e-4 has several values: "
    r"to run with each add --multirun$",
    "agent.gammas=0.9,0.99": r"add --multirun, for a list write agent.gammas=\[0.9,0.99\]$",
    "trajectory_encoder.position=sine": r"trajectory_encoder.position='sine' must be one of fixed",
    "+trajectory_encoder.depth=5": r"trajectory_encoder has no setting 'depth' \(=5\): .*choose",
    "env.corridor_length=0": r"env.corridor_length=0 must be a whole number of at least 1",
    "env.corridor=3": r"tmaze/passive has no setting 'corridor'.* did you mean corridor_length",
    "context_length=500 replay.capacity=200": r"context_length=500 .* replay.capacity=200",
    "rollout_steps=500 replay.capacity=200": r"rollout_steps=500 .* replay.capacity=200",
    "context_length=0": r"context_length=0 must be",
    "updates=0": r"updates=0 must be a whole number of at least 1",
    "envs=many": r"envs='many' must be a whole number",
    "agent.gammas=[0.9,1.0]": r"agent.gammas=\[0.9, 1.0\]",
    "devices=64": r"devices=64, but this machine shows",
    "hindsight=some": r"hindsight: strategy='some' needs an environment that follows instruct",
    "env=goals/maze_runner hindsight=often": r"hindsight=often does not exist",
    "env=goals/maze_runner hindsight.choice=best": r"hindsight.choice='best' must be one of",
    "env=goals/maze_runner env.side=8": r"env: side=8 must be odd",
    "env=goals/maze_runner timestep_encoder.observation_keys=[achieved]": r"'achieved' is for hind",
    "exploration.anneal_steps=0": r"exploration.anneal_steps=0 must be a whole number",
    "optimizer.clip_norm=0": r"optimizer.clip_norm=0 must be a number above 0",
    "agent.tau=5": r"agent.tau=5 must be a number above 0 and at most 1",
    "attention=flash": r"attention='flash' must be one of auto, dense, blocks, pallas, cudnn",
    "attention=pallas": r"attention=pallas does not take platform=cpu, only gpu; choose .*blocks",
    "attention=dense trajectory_encoder=gru": r"attention=dense needs .*=transformer.* GRU has no",
    "dtype=float16": r"^dtype='float16' must be one of float32, bfloat16$",
    "dtype=float64": r"^dtype='float64' must be one of float32, bfloat16$",
    "envs=": r"envs=",
    "seed=[": r"seed=\[ is malformed",
}


@pytest.mark.parametrize("overrides", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(overrides):
    with pytest.raises(ConfigError, match=WRONG[overrides]) as caught:
        build(compose(overrides.split(" ")))
    assert "\n" not in str(caught.value)


def test_a_choice_that_exists_and_is_wrong_inside_is_not_called_missing(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults: [override /env: tmaze/active, tmaze]\n"
    (tmp_path / "experiment" / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"Override .* is defined before") as caught:
        compose(["experiment=own"], sources=Sources(added=str(tmp_path)))
    assert "does not exist" not in str(caught.value)


def test_an_experiment_may_change_what_ppo_is_told(tmp_path):
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\nppo:\n  clip: 0.3\n"
    (tmp_path / "experiment" / "own.yaml").write_text(text)
    sources = Sources(added=str(tmp_path))
    assert compose(["experiment=own"], "ppo", sources=sources).ppo.clip == 0.3
    assert compose(["experiment=own", "ppo.clip=0.1"], "ppo", sources=sources).ppo.clip == 0.1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([3], r"overrides=\[3\]: 3 must be text, as in 'seed=1'"),
        ("seed=2", r"overrides='seed=2' must be a list, as in \['seed=2'\]"),
        (None, "overrides=None must be a list"),
    ],
)
def test_overrides_that_are_no_list_of_text_are_told(overrides, words):
    with pytest.raises(ConfigError, match=words):
        compose(overrides)
    with pytest.raises(ConfigError, match=words):
        changed(compose(), overrides)


@pytest.mark.parametrize(
    ("overrides", "horizon"),
    [
        ("env=gymnax/CartPole-v1 env.horizon=9", 9),
        ("env=gymnax/MemoryChain-bsuite env.params.max_steps_in_episode=8", 8),
        ("env=gymnax/Acrobot-v1 env.horizon=7", 7),
    ],
)
def test_an_environments_settings_need_no_place_in_a_file(overrides, horizon):
    assert build(compose(overrides.split())).env.horizon == horizon


def test_attention_is_chosen_for_the_devices_that_are_described():
    described = SimpleNamespace(
        devices=np.array([SimpleNamespace(platform="gpu")]), shape={"data": 1}
    )

    def chosen(trainer):
        return trainer.agent.trajectory_encoder.choose_attention(trainer.replay.window).name

    assert chosen(build(compose())) == "dense"
    there = build(compose(), described)
    assert (chosen(there), there.mesh) == ("pallas", described)
    assert chosen(build(compose(["attention=blocks"]))) == "blocks"
    gru = build(compose(["trajectory_encoder=gru"])).agent.trajectory_encoder
    assert gru.choose_attention(9) is None


def test_the_default_is_the_papers_t_maze_recipe():
    config = compose()
    trainer = build(config)
    assert trainer.env.name == "tmaze/passive"
    assert trainer.agent.reward_multiplier == 100.0
    assert trainer.agent.gammas[-1] == 0.9999
    assert trainer.replay.window == trainer.env.horizon + 1 == 32
    assert not trainer.agent.timestep_encoder.normalize_inputs


def test_the_command_line_wins_over_what_an_env_file_brings():
    config = compose(["agent.reward_multiplier=1", "exploration=plain"])
    assert config.agent.reward_multiplier == 1
    assert config.exploration._target_.endswith("Plain")


@pytest.mark.parametrize("env", [e for e in choices("env") if not e.startswith("gymnax/MNIST")])
def test_every_environment_builds(env):
    config = compose([f"env={env}"])
    assert build(config).env.name == config.env.env_id


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={name}"
        for group in ("agent", "trajectory_encoder", "exploration", "experiment")
        for name in choices(group)
    ],
)
def test_every_choice_of_a_group_builds(choice):
    build(compose([choice]))


@pytest.mark.parametrize(
    "overrides",
    [
        "agent.tau=0.5 seed=3",
        "env=tmaze/active env.corridor_length=7 agent=multitask agent.bins=8",
        "env=gymnax/MemoryChain-bsuite env.horizon=9 ~env.params grid={agent.tau:[0.1,0.2]}",
        "hydra.verbose=true ~experiment label=mine agent.gammas=[0.1,0.9] +exploration.horizon=4",
    ],
)
def test_what_is_composed_sooner_is_what_hydra_composes(overrides):
    overrides = open_settings(overrides.split())
    offer_environments(overrides)
    with initialize_config_dir(str(CONF_DIR.resolve()), version_base="1.3"):
        expected = hydra_compose("config", overrides=overrides)
        for _ in range(2):
            found = compose_sooner("config", overrides, CONF_DIR)
            assert OmegaConf.is_struct(found)
            assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
            found.label = "changed afterwards"
    with pytest.raises(ConfigError, match="seed"):
        compose(["seed=0,1"])


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "small.yaml"
    for number in (1, 2):
        file.write_text(f"seed: {number}")
        os.utime(file, ns=(number, number))
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            assert compose_sooner("small", ["+x=3"], tmp_path) == {"seed": number, "x": 3}


def test_shared_settings_reach_every_part():
    trainer = build(compose(["context_length=7", "envs=6", "batch_size=4"]))
    assert trainer.replay.window == 8
    assert trainer.agent.trajectory_encoder.context_length == 7
    assert trainer.devices == max(
        n for n in range(1, jax.local_device_count() + 1) if 6 % n == 0 and 4 % n == 0
    )


def test_rematerialization_reaches_memory_and_critics():
    for agent in ("amago", "multitask"):
        built = build(compose(["rematerialize=true", f"agent={agent}"])).agent
        assert built.trajectory_encoder.rematerialize
        assert built.critics.rematerialize
    built = build(compose()).agent
    assert not built.trajectory_encoder.rematerialize
    assert not built.critics.rematerialize


def test_the_configuration_resolves_and_explains_itself():
    text = OmegaConf.to_yaml(compose(), resolve=True)
    assert "corridor_length: 30" in text
    assert (CONF_DIR / "config.yaml").is_file()


def check_one_sentence(result, message):
    assert result.returncode == 1
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("train", ["sed=1"], "there is no setting 'sed'; did you mean seed"),
        ("train", ["--multirun", "seed=0,1", "env=tmaze/pasive"], "env=tmaze/pasive does not"),
        ("train", ["--multirun", "trajectory_encoder.heads=4,5"], "heads=5 does not divide"),
        ("benchmark", ["experiment=null"], "write '~experiment'"),
        ("plot", ["tilte=x"], "there is no setting 'tilte'; did you mean title?"),
    ],
)
def test_scripts_end_with_one_sentence_and_exit_code_1(name, arguments, message):
    check_one_sentence(run_script(name, *arguments), message)


def test_a_process_prints_nothing_but_that_sentence():
    command = [sys.executable, str(SCRIPTS / "evaluate.py"), "checkpoint=/nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    check_one_sentence(result, "/nowhere")


@pytest.mark.parametrize("override", ["sweep=joblib", "hydra/launcher=joblib"])
def test_what_is_not_installed_is_named_with_its_extra(override, monkeypatch):
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "joblib.yaml")
    with pytest.raises(
        ConfigError, match=r"launcher/joblib is not installed: .* 'amago_jax\[joblib\]'"
    ):
        compose([override])


def test_a_question_mark_lists_all_environments():
    result = run_script("train", "env=?")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert {"tmaze/passive", "goals/crafter_pixels", "meta/xland_minigrid"} < set(lines)
    assert {"navix/Navix-Empty-5x5-v0", "jumanji/Snake-v1", "brax/ant"} < set(lines)
    assert all(re.fullmatch(r"[a-z]+/[\w.-]+", line) for line in lines if line)


def test_help_explains_the_choices():
    result = run_script("train", "--help")
    assert result.returncode == 0
    for word in ("tmaze/passive", "transformer", "bilevel", "env=gymnax/CartPole-v1", "--multirun"):
        assert word in result.stdout, word


def test_arrays_of_64_bits_are_refused_in_one_sentence():
    with jax.enable_x64(), pytest.raises(ConfigError, match=r"JAX_ENABLE_X64=1 .* unset it$"):
        build(compose([]))
