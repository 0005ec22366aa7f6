"""Both ways of attention are measured side by side."""

import amago_jax
from amago_jax.measure.attention import benchmark_attention


def test_every_way_is_timed_at_every_length(capsys):
    overrides = ["lengths=[32,64]", "blocks=[16]", "repeats=1", "batch_size=1", "heads=1"]
    found = benchmark_attention(amago_jax.compose(overrides, "benchmark_attention"))
    assert set(found) == {(32, 0), (32, 16), (64, 0), (64, 16)}
    assert all(seconds > 0 and work > 0 for seconds, work in found.values())
    assert "| 64 | " in capsys.readouterr().out
