"""Whatever grows or slows down over a long time is found, and what does not is not."""

import pytest

from soak import WATCHED, what_grew

FLAT = {"memory": 2600.0, "threads": 24.0, "open files": 9.0, "memory maps": 4800.0}
FLAT |= {"compilations": 9.0, "epochs per second": 2.0, "processor seconds per epoch": 0.5}
LOOKS = 100


def rows(**grown):
    """Return a hundred looks at a process in which some things grow steadily to so much more."""
    return [
        {"epochs": 10 * n}
        | {name: x + grown.get(name, 0.0) * n / LOOKS for name, x in FLAT.items()}
        for n in range(LOOKS)
    ]


def test_a_run_in_which_nothing_grows_is_flat():
    assert what_grew(rows()) == []


def test_what_grows_before_the_warm_up_is_over_does_not_count():
    early = [row | dict.fromkeys(WATCHED, 0.0) | {"epochs": 0} for row in rows()[:8]]
    assert what_grew([*early, *rows()[8:]]) == []


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("memory", 200.0),
        ("threads", 10.0),
        ("open files", 10.0),
        ("memory maps", 1000.0),
        ("compilations", 5.0),
        ("epochs per second", -1.0),
        ("processor seconds per epoch", 0.2),
    ],
)
def test_what_grows_is_named(name, more):
    (found,) = what_grew(rows(**{name: more}))
    assert found.startswith(f"{name}: ")
