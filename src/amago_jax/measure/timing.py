"""Timing what runs on a device, several ways in turns: a machine that slows down slows them all."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import jax

Name = TypeVar("Name", bound=Hashable)


def seconds_of(function: Callable[[], Any]) -> float:
    """Return the seconds until what a function returns is there."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def medians_in_turns(
    functions: Mapping[Name, Callable[[], Any]], repeats: int
) -> dict[Name, float]:
    """Return the median seconds of each function, by name, after a turn of all that warms up."""
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            seconds[name].append(seconds_of(function))
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}
