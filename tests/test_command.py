"""The installed command: the scripts' twin."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

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
    shown = run_script(script, "--help").stdout
    first, *_ = (ROOT / "scripts" / f"{script}.py").read_text().splitlines()
    assert f"python scripts/{script}.py" in first
    assert f"python scripts/{script}.py" in shown
    assert "Hydra" not in shown
    assert ("Choices (group=name)" in shown) == (script in WITH_CHOICES)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_and_script_do_the_same(name, monkeypatch, capsys):
    """A wrong setting, which each refuses in its own words, shows which of them was called."""
    script = run_script(name, "no_such_setting=1")
    monkeypatch.setattr("sys.argv", ["amago-jax"])
    with pytest.raises(SystemExit) as left:
        main([name, "no_such_setting=1"])
    assert left.value.code == script.returncode == 1
    assert capsys.readouterr().err == script.stderr != ""
