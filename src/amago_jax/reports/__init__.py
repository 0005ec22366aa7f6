"""Reports: pictures and tables from the rows and files that runs leave behind."""

from amago_jax.reports.comparing import compare
from amago_jax.reports.episodes import draw_attention, draw_values
from amago_jax.reports.outcomes import Outcome, read_outcome
from amago_jax.reports.plotting import plot_adaptation, plot_comparison, plot_learning_curves
from amago_jax.reports.rendering import Animation, animate, film_strip, write_animation
from amago_jax.reports.report import Report, make_report
from amago_jax.reports.rows import Rows, read_jsonl
from amago_jax.reports.writing import report, write_report

__all__ = [
    "Animation",
    "Outcome",
    "Report",
    "Rows",
    "animate",
    "compare",
    "draw_attention",
    "draw_values",
    "film_strip",
    "make_report",
    "plot_adaptation",
    "plot_comparison",
    "plot_learning_curves",
    "read_jsonl",
    "read_outcome",
    "report",
    "write_animation",
    "write_report",
]
