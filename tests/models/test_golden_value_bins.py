"""Value bins against the authors' numbers."""

import pytest

from amago_jax.models.value_bins import ValueBins
from golden_files import assert_close, load

LABELS = {"twohot": "two_hot", "hlgauss": "hl_gauss"}


@pytest.mark.parametrize("space", ["symlog", "linear"])
@pytest.mark.parametrize("labels", ["twohot", "hlgauss"])
def test_value_bins(labels, space):
    golden = load(f"value_bins_{labels}_{space}")
    meta = golden.meta
    bins = ValueBins(
        min_return=meta["min_return"],
        max_return=meta["max_return"],
        bins=meta["bins"],
        use_symlog=meta["use_symlog"],
        labels=LABELS[meta["label_type"]],
        gauss_width=meta["sigma"],
    )
    assert_close(bins.centers, golden["bin_centers"], 1e-5, "centers")
    assert_close(bins.encode(golden["values"][..., 0]), golden["labels"], 1e-5, "labels")
    assert_close(bins.decode(golden["logits"])[..., None], golden["decoded"], 1e-5, "decoded")
