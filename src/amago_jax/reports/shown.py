"""Figures that a notebook shows; imports matplotlib, which takes a while."""

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that a notebook shows once, where a cell ends with it.

    Those of pyplot are shown at the end of a cell in any case; others not at all, as long as pyplot
    was not imported.
    """

    def _repr_png_(self) -> bytes:
        """Return it as a notebook asks for it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
