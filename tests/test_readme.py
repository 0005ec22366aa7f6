"""The README's example runs as it stands, and learns."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs_and_its_policy_solves_the_maze(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 24
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["row"]["evaluation/return"] == 1.0
    assert names["total"].shape == (8,)
    assert float(names["total"].min()) == 1.0


def test_the_two_commands_come_first():
    first = README.read_text().split("```")[1].split()
    assert first[:2] == ["make", "train"]
    assert "test" in first


def test_every_path_of_the_map_exists():
    paths = re.findall(r"`((?:src|conf|scripts|tests|docs)/[\w/.]*)`", README.read_text())
    assert len(paths) > 10
    for path in paths:
        assert (README.parent / path).exists(), path
