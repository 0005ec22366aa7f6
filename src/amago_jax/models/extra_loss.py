"""What a further term of the loss, one of one's own, looks like."""

from flax import linen as nn

from amago_jax.settings import check_fields
from amago_jax.types import Array, Batch, Metrics


class ExtraLoss(nn.Module, kw_only=True):
    """A loss of every transition, read off the states that actor and critics share.

    Its gradient trains both encoders, and whatever weights the term itself creates. It is averaged
    over the valid transitions of the whole batch, so a term need know nothing of padding, of
    episodes packed behind one another, or of devices. It serves learning alone: acting never calls
    it. What it draws at random comes from ``self.make_rng("dropout")``.

    Raises:
        ValueError: if a setting is not what its annotation says.
    """

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        super().__post_init__()

    def __call__(self, states: Array, batch: Batch) -> tuple[Array, Metrics]:
        """Return the loss of every transition of a batch.

        Args:
            states: ``[B, L+1, D]``, one for every timestep, of the trajectory encoder's dtype.
            batch: windows of L+1 timesteps, relabelled in hindsight if that is on. Transition t
                leads from timestep t to t+1, which holds its action, reward and outcome.

        Returns:
            Losses, float ``[B, L]``, and what else is worth watching, ``[B, L]`` by name; what
            either says of transitions out of `Batch.transition_mask` is not looked at.
        """
        raise NotImplementedError
