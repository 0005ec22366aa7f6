"""An acting step is timed at every context, and what is filled of it is what it says."""

import json

import pytest

import amago_jax
from amago_jax.measure.decoding import Decoder, benchmark_decoding

SMALL = ["transformer.width=8", "transformer.heads=2", "transformer.feedforward_width=8"]
SMALL += ["transformer.layers=1", "contexts=[8,300]", "rows=2", "steps=2", "repeats=1"]


@pytest.mark.parametrize(("filled", "length"), [(0.1, 1), (0.5, 4), (1.0, 8)])
def test_a_call_ends_where_the_share_is_filled(filled, length):
    decode = Decoder(amago_jax.compose(SMALL, "benchmark_decoding"), 8, filled)
    for _ in range(2):
        assert len(decode()) == decode.steps == min(2, length)
        assert decode.memory.lengths.tolist() == [length] * 2
        assert decode.memory.cursor == length % 8


def test_every_case_is_timed(tmp_path, capsys):
    overrides = [*SMALL, "filled=[0.1,1.0]", f"output={tmp_path / 'figures.json'}"]
    found = benchmark_decoding(amago_jax.compose(overrides, "benchmark_decoding"))
    assert set(found) == {(8, 0.1), (8, 1.0), (300, 0.1), (300, 1.0)}
    assert all(seconds > 0 for seconds in found.values())
    assert "| 300 | " in capsys.readouterr().out
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [row["context"] for row in written["rows"]] == [8, 8, 300, 300]
