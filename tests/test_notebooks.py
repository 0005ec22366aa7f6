"""The notebooks run from top to bottom, at sizes small enough for a test."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
LARGEST = 300_000  # bytes of a notebook, pictures included
SMALL = [
    "trajectory_encoder.width=16",
    "trajectory_encoder.heads=2",
    "trajectory_encoder.layers=1",
    "trajectory_encoder.feedforward_width=16",
]
# Of two notebooks the same program, but that one has two seeds.
TINY = [
    "timestep_encoder.hidden_size=16",
    "agent.hidden_size=16",
    "agent.layers=1",
    "agent.gammas=[0.9,0.99]",
    "agent.detailed_metrics=false",
    "envs=4",
    "batch_size=4",
    "updates=2",
    "evaluation.every=1",
    "evaluation.episodes=4",
    "replay.capacity=80",
]
# What takes the place of the cell that is tagged `parameters`.
SIZES = {
    "1_tmaze": f"corridor, epochs, episodes, smaller = 4, 2, 4, {[*SMALL, *TINY]}",
    "2_own_environment": f"horizon, epochs, smaller = 5, 1, {[*TINY]}",
    "3_sweep": (
        f"seeds, rates, epochs, corridor, smaller = 1, [1e-4, 1e-3], 2, 4, {[*SMALL, *TINY]}"
    ),
}


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def test_each_notebook_has_its_sizes():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_notebook_runs_and_assigns_what_its_parameters_say(name, tmp_path, monkeypatch):
    # A kernel starts where it is told to, and finds the package as the tests do.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    book = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    (cell,) = (cell for cell in book.cells if is_parameters(cell))
    stated, given = {}, {}
    exec(cell.source, stated)
    exec(SIZES[name], given)
    assert set(stated) == set(given)
    cell.source = SIZES[name]
    NotebookClient(
        book,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    assert list(tmp_path.rglob("curves.png")), "runs are not where the notebook is run"


@pytest.mark.parametrize("name", SIZES)
def test_a_notebook_is_kept_with_what_it_showed(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
