"""Multi-step returns against the authors' numbers."""

import numpy as np
import pytest

from amago_jax.losses.returns import n_step_returns
from golden_files import assert_close, load

GOLDEN = load("nstep_td_targets")
STEPS = sorted(int(key.removeprefix("target_n")) for key in GOLDEN.arrays if "target_n" in key)


@pytest.mark.parametrize("n", STEPS)
def test_n_step_returns(n):
    mask = GOLDEN["mask"][:, :, 0, 0, 0] > 0
    expected = GOLDEN[f"target_n{n}"][:, :, 0, :, 0]
    # The file draws rewards and terminations anew for every discount: take them one by one.
    for index, gamma in enumerate(GOLDEN.meta["gammas"]):
        found = n_step_returns(
            GOLDEN["r"][:, :, 0, index, 0],
            GOLDEN["d"][:, :, 0, index, 0] > 0,
            mask,
            GOLDEN["q"][:, :, 0, index],
            np.asarray([gamma], np.float32),
            n,
        )[..., 0]
        assert_close(np.where(mask, found, 0), np.where(mask, expected[..., index], 0), 1e-5)
