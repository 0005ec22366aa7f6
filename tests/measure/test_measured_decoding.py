"""An acting step is timed at every context, and what is filled of it is what it says."""

import json

import amago_jax
from amago_jax.measure.decoding import benchmark_decoding


def test_every_case_is_timed(tmp_path, capsys):
    small = ["transformer.width=8", "transformer.heads=2", "transformer.feedforward_width=8"]
    sizes = ["contexts=[8,300]", "filled=[0.1,1.0]", "rows=2", "steps=2", "repeats=1"]
    overrides = [*small, "transformer.layers=1", *sizes, f"output={tmp_path / 'figures.json'}"]
    found = benchmark_decoding(amago_jax.compose(overrides, "benchmark_decoding"))
    assert set(found) == {(8, 0.1), (8, 1.0), (300, 0.1), (300, 1.0)}
    assert all(seconds > 0 for seconds in found.values())
    assert "| 300 | " in capsys.readouterr().out
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [row["context"] for row in written["rows"]] == [8, 8, 300, 300]
