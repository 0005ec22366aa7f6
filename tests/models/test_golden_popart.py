"""PopArt against the authors' numbers."""

from amago_jax.models.normalization import (
    init_popart,
    outputs_to_normalized,
    outputs_to_real,
    popart_sigma,
    real_to_normalized,
    update_popart,
)
from golden_files import assert_close, load


def test_popart_moves_normalizes_and_preserves_outputs():
    golden = load("popart")
    state = init_popart(golden.meta["gammas"], golden.meta["init_nu"])
    for step in range(len(golden["val"])):
        # Golden arrays are [B, T, 1, G, 1], masks included.
        targets = golden["val"][step][:, :, 0, :, 0]
        mask = golden["mask"][step][:, :, 0, :, 0] > 0
        state = update_popart(state, targets, mask, golden.meta["beta"])
        found = {
            "mu": state.moments.mean,
            "nu": state.moments.mean_of_squares,
            "w": state.scale,
            "b": state.shift,
            "sigma": popart_sigma(state),
        }
        for name, value in found.items():
            assert_close(value, golden[name][step][:, 0], 1e-5, f"{name} at step {step}")
        assert_close(
            real_to_normalized(state, targets), golden["normalized"][step][:, :, 0, :, 0], 1e-5
        )
        values = golden["head_in"][step][..., 0]
        assert_close(
            outputs_to_normalized(state, values), golden["head_normalized"][step][..., 0], 1e-5
        )
        assert_close(
            outputs_to_real(state, values), golden["head_denormalized"][step][..., 0], 1e-5
        )
