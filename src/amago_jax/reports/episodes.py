"""Pictures of one episode: what an agent thinks it is worth, and where its memory looks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

# Imported by whoever draws, for it takes as long as everything else but JAX.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
PANEL = 2.2  # inches, a side of one map


def draw_values(
    values: np.ndarray,
    gammas: Sequence[float],
    *,
    spread: np.ndarray | None = None,
    rewards: np.ndarray | None = None,
    title: str = "",
) -> "Figure":
    """Draw values over an episode, a line for each discount.

    Args:
        values: float32 ``[L, G]``, for example `Analysis.v` of `Policy.analyze`.
        gammas: the G discounts; the last one acts, and is drawn thick.
        spread: of the critics, likewise, a band around the last one's line; None: no band.
        rewards: float32 ``[L]``, bars of what each action earned; None: no bars.
        title: above the picture.

    Returns:
        The figure, which a notebook shows where a cell ends with it; no pyplot knows of it.

    Raises:
        ValueError: if there are not as many discounts as values.
    """
    from matplotlib import colormaps

    from amago_jax.reports.shown import ShownFigure

    length, count = values.shape
    if len(gammas) != count:
        raise ValueError(f"gammas={tuple(gammas)} must be {count}, as many as values at a step")
    figure = ShownFigure(figsize=(7, 3.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    steps = np.arange(length)
    if rewards is not None:
        axes.bar(steps, rewards, color="gold", label="reward")
    colors = colormaps["viridis"](np.linspace(0.9, 0, count))
    for column, (gamma, color) in enumerate(zip(gammas, colors, strict=True)):
        acts = column == count - 1
        name, width = f"discount {gamma:g}{', acts' * acts}", 2.5 if acts else 1.0
        axes.plot(steps, values[:, column], color=color, linewidth=width, label=name)
    if spread is not None:
        low, high = (values[:, -1] + sign * spread[:, -1] for sign in (-1, 1))
        axes.fill_between(steps, low, high, color=colors[-1], alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel="timestep", ylabel="value")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def draw_attention(maps: np.ndarray, *, title: str = "") -> "Figure":
    """Draw where a memory looks: a row of maps for each layer, a column for each head.

    Args:
        maps: float32 ``[layers, heads, L, L]``, from `Policy.attention_maps`.
        title: above the picture.

    Returns:
        The figure, which a notebook shows where a cell ends with it; no pyplot knows of it.
    """
    from amago_jax.reports.shown import ShownFigure

    layers, heads = maps.shape[:2]
    size = (PANEL * heads + 1.2, PANEL * layers + 0.8)
    figure = ShownFigure(figsize=size, dpi=DPI, layout="constrained")
    panels = figure.subplots(layers, heads, squeeze=False, sharex=True, sharey=True)
    for layer, head in np.ndindex(layers, heads):
        axes: Any = panels[layer, head]
        image = axes.imshow(maps[layer, head], cmap="magma", vmin=0, vmax=1)
        axes.set_title(f"layer {layer + 1}, head {head + 1}", fontsize="small")
        axes.tick_params(labelsize="x-small")
    figure.supxlabel("timestep looked at", fontsize="small")
    figure.supylabel("timestep that looks", fontsize="small")
    figure.suptitle(title, fontsize="medium")
    figure.colorbar(image, ax=panels, label="weight", shrink=0.8)
    return figure
