"""Damaged checkpoints are refused or passed over, never read as if they were whole."""

import random
from collections import Counter

import pytest

from corruptions import check_damage, trained_run


# Where a file cannot be read, Orbax may close its event loop over a pending read, which Python
# complains of, harmlessly, whenever it collects it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_wrong_is_read_in_silence(tmp_path):
    run, found = trained_run(tmp_path / "whole")
    rng, outcomes = random.Random(0), Counter()
    for _ in range(40):
        _, outcome = check_damage(run, tmp_path / "whole", found, tmp_path / "damaged", rng)
        outcomes[outcome] += 1
    # Which file is hit differs from time to time, for Orbax names files at random.
    assert outcomes["before"]
    assert outcomes["the same"]
