"""Which backend serves: by platform, dtype, length, width of heads, window, sink and cap."""

import dataclasses

import pytest

from amago_jax.models.attention import LIMITS, LONG, Sight, Wanted, choose
from small_agents import small_transformer

PLAIN = Wanted("cpu", "float32", 128, 32, Sight())
WINDOW = Sight(window=64)
SINK = Sight(window=64, sink=4)
CAP = Sight(clip=50.0)
AUTO: dict = {
    "dense": {"a CPU": {}, "a GPU, a window": {"platform": "gpu", "sight": WINDOW}},
    "blocks": {
        "a CPU, long": {"length": LONG},
        "a GPU, long, a cap": {"platform": "gpu", "length": LONG, "sight": CAP},
        "a TPU, long, a sink": {"platform": "tpu", "length": LONG, "sight": SINK},
    },
    "pallas": {
        "a GPU": {"platform": "gpu"},
        "a GPU, long, bfloat16": {"platform": "gpu", "length": 10_001, "dtype": "bfloat16"},
    },
    "splash": {
        "a TPU, a window": {"platform": "tpu", "sight": WINDOW},
        "a TPU, a cap": {"platform": "tpu", "sight": CAP, "length": LONG},
    },
}
REFUSED: dict = {
    "pallas on a CPU": ("pallas", {}, "platform=cpu, only gpu"),
    "pallas, window": ("pallas", {"platform": "gpu", "sight": WINDOW}, "window=64, only null"),
    "pallas, cap": ("pallas", {"platform": "gpu", "sight": CAP}, r"logit_clip=50\.0, only null"),
    "pallas, wide": (
        "pallas",
        {"platform": "gpu", "head_width": 512},
        "heads of width 512, only up to 256",
    ),
    "cudnn on a TPU": ("cudnn", {"platform": "tpu"}, "platform=tpu, only gpu"),
    "cudnn, dtype": ("cudnn", {"platform": "gpu"}, "dtype=float32, only bfloat16"),
    "cudnn, long": (
        "cudnn",
        {"platform": "gpu", "dtype": "bfloat16", "length": 10_001},
        "windows of 10001 timesteps, only up to 4096",
    ),
    "cudnn, cap": (
        "cudnn",
        {"platform": "gpu", "dtype": "bfloat16", "sight": CAP},
        r"logit_clip=50\.0",
    ),
    "splash on a GPU": ("splash", {"platform": "gpu"}, "platform=gpu, only tpu"),
    "splash, sink": ("splash", {"platform": "tpu", "sight": SINK}, "sink=4, only 0"),
    "splash, dtype": ("splash", {"platform": "tpu", "dtype": "float64"}, "dtype=float64, only"),
}


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in AUTO.items() for case in cases]
)
def test_auto_takes_the_fused_kernel_where_it_serves(name, case):
    choice = choose("auto", dataclasses.replace(PLAIN, **AUTO[name][case]))
    assert choice.name == name


def test_auto_says_why_the_fused_kernel_does_not_serve():
    wanted = dataclasses.replace(PLAIN, platform="gpu", length=LONG, sight=WINDOW)
    assert choose("auto", wanted).reason == (
        "pallas does not take window=64, only null, and windows of 1000 timesteps are as long as "
        "1000, from where on blocks are better on platform=gpu"
    )


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_serve_is_said_in_one_sentence(case):
    name, changes, why = REFUSED[case]
    sentence = f"^attention={name} does not take {why}.*; choose "
    with pytest.raises(ValueError, match=sentence) as error:
        choose(name, dataclasses.replace(PLAIN, **changes))
    assert "\n" not in str(error.value)
    # What the sentence offers serves.
    for other in str(error.value).partition("one of ")[2].split(", "):
        assert choose(other, dataclasses.replace(PLAIN, **changes)).name == other


def test_an_unknown_backend_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="attention='palas' does not exist; did you mean pallas"):
        choose("palas", PLAIN)


@pytest.mark.parametrize("name", LIMITS)
def test_every_backend_serves_somewhere(name):
    limits = LIMITS[name]
    wanted = Wanted((*limits.platforms, "cpu")[0], (*limits.dtypes, "float32")[0], 128, 32, Sight())
    assert choose(name, wanted).name == name


def test_a_transformers_window_is_no_longer_than_its_context():
    encoder = small_transformer(8, window=20, sink=1, logit_clip=5.0)
    assert encoder.sight == Sight(window=8, sink=1, clip=5.0)
    assert small_transformer(8).sight == Sight()
