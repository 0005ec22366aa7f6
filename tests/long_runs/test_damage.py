"""As in `tests/runs/test_corruptions.py`, at length."""

import random
from collections import Counter

import pytest

from corruptions import check_damage, trained_run


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_five_hundred_damages(tmp_path):
    run, found = trained_run(tmp_path / "whole")
    rng, outcomes = random.Random(1), Counter()
    for _ in range(500):
        done, outcome = check_damage(run, tmp_path / "whole", found, tmp_path / "damaged", rng)
        outcomes[f"{done.split()[0]}: {outcome}"] += 1
    print(dict(sorted(outcomes.items())))
    assert sum(n for kind, n in outcomes.items() if kind.endswith("before")) > 50
