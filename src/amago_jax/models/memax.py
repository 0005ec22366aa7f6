"""The models of memax, https://github.com/smorad/memax: pip install 'amago_jax[memax]'."""

import importlib
from typing import Any, Literal

from amago_jax.errors import MissingExtraError, how_to_install
from amago_jax.models.adapted import AdaptedMemory
from amago_jax.models.normalization import check_normalization
from amago_jax.settings import Depth, Size
from amago_jax.types import Array

# Those that memax builds by name, but for its MLP, which remembers nothing.
Model = Literal[
    "Attention",
    "Attention-ALiBi",
    "Attention-RoPE",
    "DeltaNet",
    "DeltaProduct",
    "Elman",
    "ElmanReLU",
    "FART",
    "FFM",
    "FWP",
    "GDN",
    "GRU",
    "LRU",
    "LSTM",
    "LinearRNN",
    "MGU",
    "NMax",
    "PSpherical",
    "S6",
    "Spherical",
    "Stack",
]


class Memax(AdaptedMemory):
    """Stacked layers of one of memax's models, each followed by a linear and a norm.

    Attributes:
        context_length: unused: what a memory forgets is its model's to say.
        model: memax's name for it.
        layers: number of layers.
        hidden_size: width of the layers; some models' states are of its square root each way.
        output_width: D.
        window: timesteps that the models called Attention and Stack see; others have no such limit.

    Raises:
        ValueError: if a setting is not what its annotation says.
        MissingExtraError: if memax is not installed.
    """

    context_length: Size
    model: Model = "LRU"
    layers: Depth = 2
    hidden_size: Size = 256
    output_width: Size = 256
    window: Size = 20

    def __post_init__(self) -> None:
        """Check the settings, and that memax is there."""
        super().__post_init__()
        check_normalization(self.normalization, output_width=self.output_width)
        _import()

    def make_memory(self, inputs: int, key: Array) -> Any:
        """See `AdaptedMemory`."""
        windowed = self.model.startswith(("Attention", "Stack"))
        return _import().get_residual_memory_model(
            self.model,
            input=inputs,
            hidden=self.hidden_size,
            output=self.output_width,
            num_layers=self.layers,
            layer_kwargs={self.model: {"window_size": self.window}} if windowed else {},
            key=key,
        )


def _import() -> Any:
    try:
        return importlib.import_module("memax.equinox.train_utils")
    except ImportError as error:
        raise MissingExtraError(
            f"trajectory_encoder=memax needs the extra 'memax' ({error}): {how_to_install('memax')}"
        ) from error
