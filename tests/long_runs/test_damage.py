"""As in `tests/runs/test_corruptions.py`, at length."""

import pytest

from corruptions import check_damages


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_five_hundred_damages(tmp_path):
    outcomes = check_damages(tmp_path, 500, seed=1)
    print(dict(sorted(outcomes.items())))
    assert sum(n for (_, outcome), n in outcomes.items() if outcome == "before") > 50
