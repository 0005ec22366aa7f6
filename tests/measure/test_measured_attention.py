"""Ways of attention are measured side by side."""

import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.measure.attention import benchmark_attention

TINY = ["lengths=[32,64]", "blocks=[16]", "repeats=1", "batch_size=1", "heads=1"]


def test_every_way_is_timed_at_every_length(capsys):
    found = benchmark_attention(amago_jax.compose(TINY, "benchmark_attention"))
    ways = ("dense", "blocks of 16")
    assert set(found) == {(length, way) for length in (32, 64) for way in ways}
    assert all(seconds > 0 and work > 0 for seconds, work in found.values())
    assert "| 64 | " in capsys.readouterr().out


def test_a_backend_that_cannot_serve_here_is_named():
    config = amago_jax.compose([*TINY, "backends=[splash]"], "benchmark_attention")
    with pytest.raises(ConfigError, match="attention=splash does not take platform=cpu"):
        benchmark_attention(config)
