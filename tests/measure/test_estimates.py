"""Bounds follow from published rates, and an estimate says whether a run fits."""

import dataclasses
import json

import pytest

from amago_jax.measure.compiled import Work
from amago_jax.measure.estimates import Estimate, make_turn
from amago_jax.measure.targets import Target

TARGET = Target(
    "chip",
    "Some Chip",
    "cuda",
    memory=100e9,
    rates={"float32": 100e12, "highest": 10e12, "bfloat16": 200e12},
    bandwidth=1e12,
    launch=1e-6,
    share=0.75,
)
WORK = Work({"fusion": 300.0, "copy": 100.0}, bytes=2e8)


def estimate(total, target=TARGET, work=WORK):
    turn = make_turn(target, {"float32": 1e10}, work)
    memory = {"learner": 0.0, "total": total}
    return Estimate("a run", target, 2, 1, 48, memory, update=turn, step=turn)


def test_the_slowest_of_three_is_the_bound():
    turn = make_turn(TARGET, {"float32": 1e10, "bfloat16": 2e10, "highest": 1e9}, WORK)
    assert turn.seconds == pytest.approx({"operations": 3e-4, "bytes": 2e-4, "launches": 4e-4})
    assert turn.bound == "launches"
    assert turn.rate == pytest.approx(2500)
    assert make_turn(TARGET, {}, Work({}, 9e8)).bound == "bytes"
    assert make_turn(TARGET, {"float64": 1e10}, WORK).seconds["operations"] == pytest.approx(1e-3)


def test_without_rates_there_is_no_bound():
    turn = make_turn(Target("host", "cpu", "cpu", 1e9), {"float32": 1e10}, WORK)
    assert turn.bound is None
    assert turn.rate is None


@pytest.mark.parametrize(
    ("total", "said"),
    [
        (10e9, "fits 100.0 GB"),
        (80e9, "fits 100.0 GB, but not the 75% of it that JAX takes"),
        (101e9, "does not fit 100.0 GB"),
    ],
)
def test_it_says_whether_it_fits(total, said):
    found = estimate(total)
    assert said in str(found)
    assert ("MEM_FRACTION" in str(found)) == (total == 80e9)
    assert found.fits == (total < 100e9)


def test_it_prints_what_bounds_it():
    printed = str(estimate(10e9))
    assert "on each of 2 devices, compiled for chip (Some Chip)" in printed
    assert "an update: 10 GFLOP float32, 200 MB" in printed
    assert "400 launches: 300 fusion, 100 copy" in printed
    assert "at most 2500 updates/s, for launches: 100 us operations, 200 us bytes" in printed
    assert "at most 1.2e+05 steps/s" in printed  # of all environments
    assert "measured" not in printed
    assert "measured" in str(dataclasses.replace(estimate(1e9), measured=1e9))
    assert "first states" not in printed
    assert "now and then: 400 launches" in str(dataclasses.replace(estimate(1e9), drawing=WORK))


def test_what_the_compiler_hid_is_said():
    assert "left no loop" in str(estimate(1e9, work=None))
    assert "2 inner loops" in str(estimate(1e9, work=dataclasses.replace(WORK, endless=2)))


def test_it_is_data():
    row = json.loads(json.dumps(estimate(10e9).row()))
    assert row["target"] == "chip"
    assert row["fits"] is True
    assert row["update"]["launches"] == 400
    assert row["update"]["kinds"] == {"fusion": 300, "copy": 100}
    assert row["update"]["updates/s at most"] == pytest.approx(2500)
    assert row["acting_step"]["steps/s at most"] == pytest.approx(48 * 2500)
    assert row["update"]["bound"] == "launches"
