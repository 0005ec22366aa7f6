"""Reports: pictures and tables from the rows and files that runs leave behind."""

from amago_jax.reports.comparing import compare
from amago_jax.reports.outcomes import Outcome, read_outcome
from amago_jax.reports.plotting import plot_adaptation, plot_comparison, plot_learning_curves
from amago_jax.reports.rendering import write_animation
from amago_jax.reports.report import Report, make_report
from amago_jax.reports.rows import Rows, read_jsonl
from amago_jax.reports.writing import report, write_report

__all__ = [
    "Outcome",
    "Report",
    "Rows",
    "compare",
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
