"""Runs of one setting differ in their seed alone, and settings have short names."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from amago_jax.reports.finding import FoundRun
from amago_jax.reports.settings import group_runs, telling_apart


def run(seed=0, **config):
    named = {name.replace("__", "."): value for name, value in config.items()}
    settings = {"env.env_id": "some/task", "seed": seed, **named}
    return FoundRun(Path(f"{config}/{seed}"), settings, [], "complete")


def grouped(*runs):
    return [(setting.task, setting.name, len(setting.runs)) for setting in group_runs(runs)]


def test_seeds_and_folders_make_no_setting():
    runs = [
        run(0, run_dir="a", logger__console=True, agent__tau=1, checkpoint__every=1),
        run(1, run_dir="b", logger__console=False, agent__tau=1.0, checkpoint__every=2),
        run(2, seeds=4, compilation_cache__folder="x", sweep__metric="y", agent__tau=1),
        run(3, lanes=None, agent__tau=1),  # saved by a later version, which has one more setting
    ]
    assert grouped(*runs) == [("some/task", "some/task", 4)]


def test_settings_are_named_by_what_differs():
    runs = [run(seed, agent__tau=tau, epochs=9) for tau in (0.1, 0.2) for seed in (0, 1)]
    assert grouped(*runs) == [("some/task", "agent.tau=0.1", 2), ("some/task", "agent.tau=0.2", 2)]
    (first, _) = group_runs(runs)
    assert first.values == {"agent.tau": "0.1"}


def test_null_is_told_from_a_value():
    runs = [run(context_length=None), run(context_length=9), run(context_length=8)]
    names = [f"context_length={value}" for value in ("null", 9, 8)]
    assert [setting.name for setting in group_runs(runs)] == names


def test_names_are_as_short_as_tells_apart_and_classes_are_named_shortly():
    memory = {
        "trajectory_encoder__window": 4,
        "trajectory_encoder___target_": "models.Transformer",
    }
    runs = [run(**memory), run(trajectory_encoder___target_="models.GRU")]
    names = [setting.name for setting in group_runs(runs)]
    assert names == ["trajectory_encoder=Transformer", "trajectory_encoder=GRU"]
    assert group_runs(runs)[1].values == {"trajectory_encoder": "GRU"}


def test_what_a_part_or_a_section_brings_along_is_told_in_a_word():
    memory = {"trajectory_encoder___target_": "models.Transformer"}
    learning = {"agent___target_": "build", "agent__tau": 0.1, "updates": 9}
    runs = [
        run(**memory, **learning, trajectory_encoder__window=4),
        run(**memory, **learning, trajectory_encoder__window=8),
        run(trajectory_encoder___target_="models.GRU", ppo__clip=0.2, ppo__gamma=0.9),
    ]
    one, other, ppo = (setting.values for setting in group_runs(runs))
    assert one == {
        "trajectory_encoder": "Transformer",
        "trajectory_encoder.window": "4",  # for Transformers differ in it
        "agent": "build",
        "updates": "9",
        "ppo": "unset",
    }
    assert other == one | {"trajectory_encoder.window": "8"}
    assert ppo == {
        "trajectory_encoder": "GRU",
        "trajectory_encoder.window": "unset",
        "agent": "unset",
        "updates": "unset",
        "ppo.clip": "0.2",
        "ppo.gamma": "0.9",
    }


def test_a_setting_that_only_some_of_a_part_have_is_told():
    memory = {"trajectory_encoder___target_": "models.Transformer"}
    runs = [
        run(**memory, trajectory_encoder__window=4),
        run(**memory),  # saved by an earlier version, which did not have the setting
        run(trajectory_encoder___target_="models.GRU"),
    ]
    one, other, _ = (setting.values for setting in group_runs(runs))
    assert one == {"trajectory_encoder": "Transformer", "trajectory_encoder.window": "4"}
    assert other == {"trajectory_encoder": "Transformer", "trajectory_encoder.window": "unset"}


def test_labels_are_names_where_they_tell_apart():
    one, two = run(label="one", agent__tau=1), run(label="two", agent__tau=2)
    assert [name for _, name, _ in grouped(one, two)] == ["one", "two"]
    other = run(label="one", agent__tau=3)
    names = [name for _, name, _ in grouped(one, other, run(label=None, agent__tau=4))]
    assert names == ["one, agent.tau=1", "one, agent.tau=3", "agent.tau=4"]
    assert [name for _, name, _ in grouped(one, run(label="two", agent__tau=1))] == ["one", "two"]


def test_what_most_have_is_left_out_of_names():
    runs = [run(), run(agent__popart=False), run(agent__critics=1)]
    runs = [
        FoundRun(
            one.folder, {"agent.popart": True, "agent.critics": 4} | one.config, [], "complete"
        )
        for one in runs
    ]
    assert [name for _, name, _ in grouped(*runs)] == [
        "base",
        "agent.popart=false",
        "agent.critics=1",
    ]


def test_environments_are_tasks_with_settings_of_their_own():
    runs = [
        run(env__goals=goals, rollout_steps=10 * goals, hindsight__strategy=strategy)
        for goals in (1, 2)
        for strategy in ("some", "none")
    ]
    other = run(env__env_id="other/task", hindsight__strategy="none")
    assert grouped(*runs, other) == [
        ("some/task, env.goals=1", "hindsight.strategy=some", 1),
        ("some/task, env.goals=1", "hindsight.strategy=none", 1),
        ("some/task, env.goals=2", "hindsight.strategy=some", 1),
        ("some/task, env.goals=2", "hindsight.strategy=none", 1),
        ("other/task", "other/task", 1),
    ]


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1)), max_size=6))
def test_the_names_chosen_tell_apart_what_all_do_and_none_is_superfluous(settings):
    def parts(names):
        return len({tuple(values.get(name) for name in names) for values in settings})

    names = telling_apart(settings)
    assert parts(names) == parts("abcd")
    assert all(parts([n for n in names if n != name]) < parts(names) for name in names)
