"""Damage to a run's checkpoints, at random, and what may then be read of them."""

import random
import shutil
import warnings
from collections import Counter

import jax
import numpy as np

import amago_jax
from amago_jax.errors import UserError
from amago_jax.runs import older_checkpoints, snapshots
from amago_jax.runs.checkpoints import REST, STATE, steps
from tiny_runs import LEAST


def trained_run(folder):
    """Return a run that has saved twice, and what each checkpoint holds by its step."""
    run = amago_jax.make_run([*LEAST, "epochs=2", "replay.capacity=12"], folder)
    found = {}
    for _ in run.epochs():
        run.save()
        newest = steps(folder / "checkpoints")[-1]
        found[newest] = [read(run, folder, part)[0] for part in (STATE, REST)]
    return run, found


def read(run, folder, part):
    """Return what is read of the newest checkpoint, and what was warned of.

    Args:
        run: tells shapes; reads in ``folder``.
        folder: a run's.
        part: `STATE`, what a process that acts reads, or `REST`, all that one that goes on does.
    """
    run.directory = folder

    def make(config, checkpoint):
        if part == STATE:
            state = older_checkpoints.restore(checkpoint, run.trainer.shapes().learner)
        else:
            state = snapshots.restore_state(run, checkpoint)
        rows = snapshots.rows_of(run, checkpoint)
        return checkpoint.step, dict(config), rows, as_bytes(state)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = snapshots.first_readable(folder, "newest", make, part=part)
    return found, [str(warning.message) for warning in caught]


def as_bytes(tree):
    return [
        np.asarray(
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ).tobytes()
        for x in jax.tree.leaves(tree)
    ]


def check_damages(folder, times, seed):
    """Train a run in a folder, damage copies of it so many times, and check each.

    Returns:
        How often it came to what, by the kind of damage and how it ended, see `check_damage`.
    """
    run, found = trained_run(folder / "whole")
    rng, outcomes = random.Random(seed), Counter()
    for _ in range(times):
        done, outcome = check_damage(run, folder / "whole", found, folder / "damaged", rng)
        outcomes[done.split()[0], outcome] += 1
    return outcomes


def check_damage(run, whole, found, folder, rng):
    """Damage a copy of a run's folder, and check that nothing wrong is read of it in silence.

    Returns:
        What was done, and how it ended: "refused", "before", or "the same".
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    done, is_gone = damage(folder / "checkpoints", rng)
    part = rng.choice([STATE, REST])
    content, told = None, []
    try:
        content, told = read(run, folder, part)
    except UserError as error:
        told = [str(error)]
    if content is None:
        assert str(folder) in told[0], f"{done}: {told[0]}"
        return done, "refused"
    assert content == found[content[0]][part == REST], f"{done} gave something else"
    if content[0] == max(found):
        return done, "the same"
    assert is_gone or any("is corrupt" in sentence for sentence in told), done
    return done, "before"


def damage(folder, rng):
    """Do one thing to the checkpoints in a folder.

    Returns:
        It in words, and whether the newest checkpoint is not there as such any more.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(paths)
    kind = rng.choice(
        ["flip", "flip", "flip", "cut", "zeros", "remove", "swap", "remove folder", "step", "junk"]
    )
    content = bytearray(path.read_bytes())
    name = path.relative_to(folder)
    if kind == "flip" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "cut":
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
    elif kind == "zeros":
        start = rng.randrange(len(content) + 1)
        stop = min(len(content), start + 4096)
        content[start:stop] = bytes(stop - start)
        path.write_bytes(content)
    elif kind == "remove":
        path.unlink()
    elif kind == "swap":
        other = rng.choice(paths)
        theirs = other.read_bytes()
        other.write_bytes(content)
        path.write_bytes(theirs)
        name = f"{name} and {other.relative_to(folder)}"
    elif kind == "remove folder" and path.parent.parent != folder:
        inside = path.parents[rng.randrange(len(name.parts) - 2)]
        shutil.rmtree(inside)
        name = inside.relative_to(folder)
    elif kind == "step":
        return damage_steps(folder, rng)
    elif kind == "junk":
        stray = path.parent / rng.choice(
            ["7", "x_9", "9.orbax-checkpoint-tmp", "metadata~", "0012"]
        )
        if rng.random() < 0.5:
            stray.mkdir(exist_ok=True)
        else:
            stray.write_bytes(content)
        name = stray.relative_to(folder)
    return f"{kind} {name}", False


def damage_steps(folder, rng):
    """Remove, rename, copy or exchange whole checkpoints."""
    first, last = (folder / str(step) for step in steps(folder))
    kind = rng.choice(["remove", "rename", "copy", "exchange", "mix"])
    if kind == "remove":
        shutil.rmtree(last)
    elif kind == "rename":
        last.rename(folder / rng.choice(["1", "99", "x", "06"]))
    elif kind == "copy":
        shutil.copytree(last, folder / "99")
    elif kind == "exchange":
        first.rename(folder / "aside")
        last.rename(first)
        (folder / "aside").rename(last)
    else:
        item = rng.choice(sorted(path.name for path in last.iterdir() if path.is_dir()))
        shutil.rmtree(last / item)
        if (first / item).is_dir():
            shutil.copytree(first / item, last / item)
    return f"{kind} of steps", kind in ("remove", "rename")
