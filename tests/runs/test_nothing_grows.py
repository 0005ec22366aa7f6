"""An epoch costs as much late in a run as early: nothing in it looks at all rows before."""

import pytest

import amago_jax
from amago_jax.reports.row_store import RowStore
from amago_jax.runs import snapshots
from amago_jax.runs.outcome import sweep_metric
from tiny_runs import LEAST


class CountedRows(RowStore):
    """Rows that count how many of them are made for a reader."""

    looked_at = 0

    def _row(self, number):
        self.looked_at += 1
        return super()._row(number)


def rows_of(epochs):
    return CountedRows(
        {"epoch": float(n), "env_steps": 48.0 * n, "updates": 3.0 * n, "time/seconds": 1.0 * n}
        | ({"evaluation/return": 0.5} if n % 500 == 0 else {})
        for n in range(1, epochs + 1)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    overrides = [*LEAST, "epochs=100000", "stop.return=0.9", "stop.evaluations=3"]
    return amago_jax.make_run(overrides, tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("epochs", [2000, 20_000])
def test_an_epoch_and_a_save_look_at_few_rows_however_many_there_are(run, epochs):
    run.rows = rows = rows_of(epochs)
    assert not run.finished
    run.record(
        {"epoch": 1.0, "epochs": 2.0, "env_steps": 1.0, "updates": 1.0, "train/episodes": 0.0},
        1.0,
        1.0,
    )
    found = snapshots.progress_of(run)
    assert [row["epoch"] for row in found["rows"]] == [epochs - 1000, epochs - 500, epochs, 1.0]
    assert found["evaluation/return"] == 0.5
    assert sweep_metric(rows, run.config) == 0.5
    assert rows.looked_at < 50


def test_the_stop_criterion_sees_the_last_evaluations(run):
    run.rows = rows_of(2000)
    for value, over in ((1.0, False), (0.9, False), (0.95, True)):
        run.rows.append({"epoch": 2001.0, "evaluation/return": value})
        run.rows.append({"epoch": 2002.0})
        assert run.finished == over


def test_a_picture_is_drawn_of_columns_without_a_look_at_rows(run):
    run.rows = rows = rows_of(3000)
    run.plot()
    assert rows.looked_at == 0
