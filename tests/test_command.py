"""The installed command: the scripts' twin."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import amago_jax
from amago_jax.__main__ import COMMANDS, main
from in_process import run_script

ROOT = Path(__file__).parents[1]
WITH_CHOICES = {"train", "ppo", "estimate", "benchmark"}  # what configures a run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_with_an_example_of_each(arguments, capsys):
    main(arguments)
    shown = capsys.readouterr().out
    for name, (_, example) in COMMANDS.items():
        assert f"amago-jax {name} {example}" in shown


def test_a_command_that_there_is_not_names_the_nearest(capsys):
    with pytest.raises(SystemExit) as left:
        main(["trian", "seed=1"])
    assert left.value.code == 1
    assert "no command 'trian'; did you mean train?" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    main(["--version"])
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"amago_jax {declared}\n"


def test_the_package_installs_the_command():
    (entry,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    module, _, name = entry[1].partition(":")
    assert entry[0] == "amago-jax"
    assert getattr(import_module(module), name) is main


@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "scripts").glob("*.py")))
def test_every_script_says_in_its_own_words_what_it_does(script):
    name = "config" if script == "train" else script
    shown = amago_jax.compose([], name, hydra_settings=True).hydra.help
    assert "Hydra" not in shown.header
    assert f"python scripts/{script}.py" in shown.footer
    assert ("$APP_CONFIG_GROUPS" in shown.template) == (script in WITH_CHOICES)


def test_help_is_what_the_configuration_says():
    shown = run_script("report", "--help").stdout
    assert shown.startswith("What the runs in some folders come to")
    assert "metric: evaluation/return" in shown
    assert "python scripts/report.py runs/a runs/b equal=time/seconds" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_command_and_script_do_the_same(name, monkeypatch, capsys):
    """A wrong setting, which each refuses in its own words, shows which of them was called."""
    script = run_script(name, "no_such_setting=1")
    monkeypatch.setattr("sys.argv", ["amago-jax"])
    with pytest.raises(SystemExit) as left:
        main([name, "no_such_setting=1"])
    assert left.value.code == script.returncode == 1
    assert capsys.readouterr().err == script.stderr != ""
