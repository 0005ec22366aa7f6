"""How a run ended, read back from its folder."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_jax.reports import Outcome, read_outcome
from amago_jax.runs.outcome import write_outcome

OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(["complete", "failed", "interrupted"]),
    reason=st.none() | st.text(),
    metric=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@given(outcome=OUTCOMES)
def test_what_is_written_is_read(outcome, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_outcome(folder, outcome)
    assert read_outcome(folder) == outcome
    assert [path.name for path in folder.iterdir()] == ["outcome.json"]


def test_a_run_that_did_not_end_has_none(tmp_path):
    assert read_outcome(tmp_path) is None
    assert read_outcome(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["", "[]", "7", '{"reason": "x"}', '{"status": "done"}', "{"])
def test_what_is_no_outcome_is_named(text, tmp_path):
    (tmp_path / "outcome.json").write_text(text)
    with pytest.raises(ValueError, match=r"outcome\.json"):
        read_outcome(tmp_path)


def test_the_format_is_what_other_programs_read(tmp_path):
    write_outcome(tmp_path, Outcome("failed", "the loss became inf"))
    written = json.loads((tmp_path / "outcome.json").read_text())
    assert written == {"status": "failed", "reason": "the loss became inf", "metric": None}
