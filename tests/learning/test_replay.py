"""The ring buffer against a plain-Python list of everything that was ever written.

Every window that can be drawn is enumerated and checked, so that little rests on luck.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.learning.replay import Replay
from amago_jax.types import Timestep

# Few sizes, so that few programs are compiled: (environments, ring).
RINGS = [
    (1, Replay(capacity=7, window=3)),
    (2, Replay(capacity=12, window=4)),
    (3, Replay(capacity=9, window=9)),
    (2, Replay(capacity=10, window=2)),
    (2, Replay(capacity=12, window=4, starts="across")),
    (3, Replay(capacity=9, window=9, starts="across")),
    (2, Replay(capacity=12, window=4, starts="anywhere")),
    (1, Replay(capacity=7, window=3, starts="anywhere")),
]
IDS_PER_ENV = 10_000

add = jax.jit(Replay.add, static_argnums=0)
sample = jax.jit(Replay.sample, static_argnums=(0, 3))
windows = jax.jit(Replay.windows, static_argnums=0)


def stream(env, lengths):
    """Episodes of `lengths` timesteps, one after the other; every timestep has its own id."""
    time: Any = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    last: Any = np.concatenate([np.arange(n) == n - 1 for n in lengths])
    ids: Any = (env * IDS_PER_ENV + np.arange(len(time))).astype(np.int32)
    frame: Any = np.stack([ids, ids + 1], axis=-1).astype(np.uint8)
    action: Any = np.where(time == 0, -1, ids % 5).astype(np.int32)
    return Timestep(
        observation={"id": ids, "frame": frame},
        previous_action=action,
        previous_reward=ids.astype(np.float32),
        time=time,
        is_first=time == 0,
        is_last=last,
        terminated=last & (ids % 2 == 0),
    )


def streams(lengths, steps):
    """Leaves ``[E, steps, ...]``: the first `steps` of each environment's episodes."""
    rows = [jax.tree.map(lambda x: x[:steps], stream(e, row)) for e, row in enumerate(lengths)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def fill(replay, everything, chunks):
    """Write `everything` in chunks."""
    state = replay.init(jax.tree.map(lambda x: x[:, 0], everything))
    at = 0
    for chunk in chunks:
        part = jax.tree.map(lambda x, at=at, chunk=chunk: x[:, at : at + chunk], everything)
        state = add(replay, state, part)
        at += chunk
    return state


def all_windows(replay, state):
    """Every window of the ring and its probability: ``{(row, age of its start): (window, p)}``.

    The probabilities are those of `Replay.sample`: a row, an age, a place in the age's episode.
    """
    envs = state.episode_start.shape[0]
    rows, starts = np.divmod(np.arange(envs * replay.capacity), replay.capacity)
    batch = jax.tree.map(np.asarray, windows(replay, state, rows, starts))
    size = int(replay.size(state))
    probability = np.zeros((envs, replay.capacity))
    begins, counts = np.asarray(state.episode_start), np.asarray(state.window_starts)
    for row in range(envs):
        for age in range(size):
            drawn = begins[row, age] + np.arange(counts[row, age])
            probability[row, drawn] += 1 / (envs * size * counts[row, age])
    return {
        (row, start): (
            jax.tree.map(lambda x, i=row * replay.capacity + start: x[i], batch),
            probability[row, start],
        )
        for row in range(envs)
        for start in range(replay.capacity)
        if probability[row, start] > 0
    }


def episodes_of(first):
    """Plain Python: the (start, length) of each run of timesteps up to the next first one."""
    starts = [age for age in range(len(first)) if age == 0 or first[age]]
    return [(s, e - s) for s, e in zip(starts, [*starts[1:], len(first)], strict=True)]


def places(replay, first):
    """Plain Python: where windows may begin, each with (length of its episode, how many)."""
    found = {}
    for start, length in episodes_of(first):
        count = 1
        if replay.starts == "anywhere":
            count = length
        elif length > replay.window:
            count = length if replay.starts == "across" else length - replay.window + 1
        found |= {start + i: (length, count) for i in range(count)}
    return found


def lengths_from(generator, envs, steps):
    """Lengths of at least `steps` timesteps per environment, from 2 to longer than any ring."""
    rows = []
    for _ in range(envs):
        longest = generator.choice([3, 6, 16])
        row: list[int] = []
        while sum(row) < steps:
            row.append(int(generator.integers(2, longest + 1)))
        rows.append(row)
    return rows


@st.composite
def histories(draw):
    """A ring, and what is written to it in which chunks."""
    envs, replay = draw(st.sampled_from(RINGS))
    sizes = st.sampled_from([1, 4, replay.capacity])
    chunks = draw(st.lists(sizes, min_size=1, max_size=8))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    everything = streams(lengths_from(generator, envs, sum(chunks)), sum(chunks))
    return replay, everything, chunks


@settings(max_examples=150, deadline=None)
@given(histories())
def test_every_window_is_a_true_piece_of_the_stream(history):
    replay, everything, chunks = history
    state = fill(replay, everything, chunks)
    written = sum(chunks)
    size = min(written, replay.capacity)
    stored = jax.tree.map(lambda x: x[:, written - size : written], everything)
    assert int(state.written) == written
    assert int(replay.size(state)) == size

    found = all_windows(replay, state)
    # No probability is lost on places outside the ring.
    assert sum(p for _, p in found.values()) == pytest.approx(1)
    covered = set()
    for (row, start), (window, _) in found.items():
        ids, segments = window.timesteps.observation["id"], window.segment_ids
        real = segments > 0

        # Padding only where the ring holds less than a window, and then at the end.
        assert real.tolist() == [i < size for i in range(replay.window)]
        # Only what is stored, and nothing twice.
        assert set(ids[real]) <= set(stored.observation["id"][row])
        assert len(set(ids[real])) == real.sum()
        # Every leaf is that of the timestep the id names.
        origin = ids[real] - row * IDS_PER_ENV
        for leaf, truth in zip(
            jax.tree.leaves(window.timesteps), jax.tree.leaves(everything), strict=True
        ):
            assert leaf.dtype == truth.dtype
            np.testing.assert_array_equal(leaf[real], truth[row][origin])
        # The stream's order; a new segment exactly at a first timestep or past the newest one.
        assert segments[0] == 1
        newest, oldest = stored.observation["id"][row][[-1, 0]]
        for i in range(1, int(real.sum())):
            seam = ids[i - 1] == newest
            assert ids[i] == (oldest if seam else ids[i - 1] + 1)
            boundary = seam or window.timesteps.is_first[i]
            assert segments[i] == segments[i - 1] + boundary
            if not boundary:
                covered.add((row, int(ids[i])))
        assert start in places(replay, stored.is_first[row])

    # Every stored transition can be drawn.
    assert covered == {
        (row, int(stored.observation["id"][row, age]))
        for row in range(len(stored.time))
        for age in range(1, size)
        if not stored.is_first[row, age]
    }


@settings(max_examples=50, deadline=None)
@given(histories())
def test_episodes_are_drawn_by_length_and_uniformly_inside(history):
    replay, everything, chunks = history
    state = fill(replay, everything, chunks)
    written = sum(chunks)
    size = min(written, replay.capacity)
    is_first = everything.is_first[:, written - size : written]
    expected = {}
    for row, first in enumerate(is_first):
        for start, (length, count) in places(replay, first).items():
            expected[row, start] = length / (len(is_first) * size * count)
    found = {key: p for key, (_, p) in all_windows(replay, state).items()}
    assert found == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(histories(), st.integers(0, 2**32 - 1))
def test_samples_are_among_the_enumerated_windows(history, seed):
    replay, everything, chunks = history
    state = fill(replay, everything, chunks)
    found = {
        (tuple(window.timesteps.observation["id"]), tuple(window.segment_ids))
        for window, _ in all_windows(replay, state).values()
    }
    batch = sample(replay, state, jax.random.key(seed), 16)
    ids, segments = np.asarray(batch.timesteps.observation["id"]), np.asarray(batch.segment_ids)
    assert ids.shape == segments.shape == (16, replay.window)
    assert segments.dtype == np.int32
    assert {(tuple(i), tuple(s)) for i, s in zip(ids, segments, strict=True)} <= found


def test_sample_has_the_enumerated_probabilities():
    # One long episode, two short ones, and a cut one: 9 + 2 + 3 + 2 timesteps, past a wrap.
    replay = Replay(capacity=16, window=4)
    lengths = [[8, 9, 2, 3, 5], [5, 4, 12, 6]]
    state = fill(replay, streams(lengths, 24), [16, 8])
    found = all_windows(replay, state)
    draws = 40_000
    batch = sample(replay, state, jax.random.key(0), draws)
    names, counts = np.unique(
        np.asarray(batch.timesteps.observation["id"])[:, 0], return_counts=True
    )
    observed = dict(zip(names.tolist(), (counts / draws).tolist(), strict=True))
    expected = {int(w.timesteps.observation["id"][0]): p for w, p in found.values()}
    assert observed.keys() == expected.keys()
    for name, p in expected.items():
        # Five standard deviations of a frequency.
        assert abs(observed[name] - p) < 5 * np.sqrt(p * (1 - p) / draws)


def times_in_windows(replay, state):
    """How often each stored timestep is in a window, by (row, age): expected, of one draw."""
    size = int(replay.size(state))
    expected = np.zeros((state.episode_start.shape[0], size))
    for (row, start), (window, probability) in all_windows(replay, state).items():
        ages = (start + np.arange(int((window.segment_ids > 0).sum()))) % size
        expected[row, ages] += probability
    return expected


@settings(max_examples=50, deadline=None)
@given(histories())
def test_anywhere_all_timesteps_are_as_likely_whatever_the_episodes(history):
    replay, everything, chunks = history
    replay = dataclasses.replace(replay, starts="anywhere")
    expected = times_in_windows(replay, fill(replay, everything, chunks))
    np.testing.assert_allclose(expected, expected[0, 0], rtol=1e-6)


def test_ends_of_long_episodes_are_rare_inside_and_as_likely_across():
    rare, fair = [Replay(60, 5), Replay(60, 5, "across")]
    everything = streams([[20, 20, 20]], 60)
    times = times_in_windows(rare, fill(rare, everything, [60]))[0]
    # Of 16 places, the first and the last timestep are in one window, those between in up to 5.
    assert times[0] == times[19] == pytest.approx(times[10] / 5)
    times = times_in_windows(fair, fill(fair, everything, [60]))[0]
    np.testing.assert_allclose(times, 5 / 60)


def test_across_and_inside_are_the_same_where_episodes_fit_into_windows():
    inside, across = [Replay(12, 5, starts) for starts in ("inside", "across")]
    everything = streams([[3, 5, 4, 2, 5, 5], [5, 2, 2, 5, 5, 5]], 24)
    states = [fill(replay, everything, [12, 12]) for replay in (inside, across)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_worked_example():
    # Written: episodes 0-3, 4-6, 7-11 (unfinished at 9); a ring of 8 keeps 2..9.
    replay = Replay(capacity=8, window=5)
    state = fill(replay, streams([[4, 3, 5]], 10), [5, 5])
    found = {
        start: (window.timesteps.observation["id"].tolist(), window.segment_ids.tolist())
        for (_, start), (window, _) in all_windows(replay, state).items()
    }
    assert found == {
        0: ([2, 3, 4, 5, 6], [1, 1, 2, 2, 2]),
        2: ([4, 5, 6, 7, 8], [1, 1, 1, 2, 2]),
        5: ([7, 8, 9, 2, 3], [1, 1, 1, 2, 2]),
    }


def test_an_episode_longer_than_the_ring_is_seen_wherever_a_window_fits():
    replay = Replay(capacity=7, window=3)
    state = fill(replay, streams([[40]], 28), [7, 7, 7, 7])
    found = all_windows(replay, state)
    assert sorted(start for _, start in found) == [0, 1, 2, 3, 4]
    for (_, start), (window, probability) in found.items():
        assert window.timesteps.observation["id"].tolist() == [21 + start + i for i in range(3)]
        assert window.segment_ids.tolist() == [1, 1, 1]
        assert probability == pytest.approx(1 / 5)


@settings(max_examples=20, deadline=None)
@given(histories())
def test_chunks_do_not_matter(history):
    replay, everything, chunks = history
    whole = fill(replay, everything, chunks)
    one_by_one = fill(replay, everything, [1] * sum(chunks))
    jax.tree.map(np.testing.assert_array_equal, whole, one_by_one)


def test_add_and_sample_compile_once():
    replay = Replay(capacity=8, window=3)
    traces: list[None] = []

    @jax.jit
    def epoch(state, timesteps, key):
        traces.append(None)
        state = replay.add(state, timesteps)
        return state, replay.sample(state, key, 4)

    everything = streams([[3, 4, 9, 20], [7, 8, 2, 30]], 30)
    state = replay.init(jax.tree.map(lambda x: x[:, 0], everything))
    for at in range(0, 30, 5):
        part = jax.tree.map(lambda x, at=at: x[:, at : at + 5], everything)
        state, batch = epoch(state, part, jax.random.key(at))
    assert len(traces) == 1
    assert batch.timesteps.observation["frame"].dtype == jnp.uint8
    assert batch.timesteps.observation["frame"].shape == (4, 3, 2)


def test_equal_descriptions_are_one_static_argument():
    assert Replay(8, 3) == Replay(8, 3)
    assert hash(Replay(8, 3)) == hash(Replay(8, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Replay(8, 3).capacity = 9


@pytest.mark.parametrize(
    ("capacity", "window", "named"),
    [(4, 5, "window=5.*capacity=4"), (4, 1, "window=1"), (0, 0, "capacity=0")],
)
def test_sizes_that_cannot_be_are_refused(capacity, window, named):
    with pytest.raises(ValueError, match=named):
        Replay(capacity=capacity, window=window)


def test_what_does_not_fit_the_ring_is_refused():
    replay = Replay(capacity=4, window=2)
    good = streams([[9], [9]], 9)
    state = replay.init(jax.tree.map(lambda x: x[:, 0], good))
    part = jax.tree.map(lambda x: x[:, :2], good)
    frame = part.observation["frame"]

    def observing(**observation):
        return part.replace(observation=part.observation | observation)

    with pytest.raises(ValueError, match=r"5 timesteps.*capacity=4"):
        replay.add(state, jax.tree.map(lambda x: x[:, :5], good))
    with pytest.raises(AssertionError):
        replay.add(state, observing(frame=frame[..., :1]))
    with pytest.raises(AssertionError):
        replay.add(state, observing(frame=frame.astype(np.float32)))
    with pytest.raises(AssertionError):
        replay.add(state, observing(other=frame))
    # One row of two environments would broadcast into both.
    with pytest.raises(AssertionError):
        replay.add(state, jax.tree.map(lambda x: x[:1], part))
