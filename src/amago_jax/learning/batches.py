"""Batches drawn from the replay, with goals relabelled in hindsight."""

from typing import TYPE_CHECKING

import jax

from amago_jax.hindsight.rarity import GoalTotals
from amago_jax.learning.experience import Experience
from amago_jax.learning.replay import ReplayState
from amago_jax.parallel import DATA_AXIS, SHARED, SPLIT, device_key, own_part, per_device
from amago_jax.types import Array, Batch

if TYPE_CHECKING:
    from amago_jax.learning.trainer import Trainer


def draw_batch(
    trainer: "Trainer",
    replay: ReplayState,
    keys: tuple[Array, Array],
    totals: GoalTotals | None,
    batch_size: int,
) -> Batch:
    """Draw one device's part of a batch.

    Args:
        trainer: says how.
        replay: this device's buffer.
        keys: of the windows, and of hindsight.
        totals: counts of goals of all devices, if hindsight weighs by rarity.
        batch_size: windows of this device.
    """
    key_batch, key_hindsight = keys
    batch = trainer.replay.sample(replay, key_batch, batch_size)
    if trainer.hindsight is None:
        return batch
    relabelling = trainer.hindsight.draw(key_hindsight, batch)
    return trainer.hindsight.relabel(batch, relabelling, totals)


def sample(trainer: "Trainer", experience: Experience, key: Array, batch_size: int) -> Batch:
    """Draw a batch of all devices, to be traced; see `amago_jax.learning.Trainer.sample`."""

    def part(experience: Experience, key: Array) -> Batch:
        own = own_part(experience)
        totals = None if own.goals is None else jax.lax.psum(own.goals.totals, DATA_AXIS)
        key_batch, key_hindsight = jax.random.split(device_key(key))
        size = batch_size // trainer.devices
        return draw_batch(trainer, own.replay, (key_batch, key_hindsight), totals, size)

    return per_device(part, trainer.mesh, (SPLIT, SHARED), SPLIT)(experience, key)
