"""Report on the runs of a sweep: python scripts/report.py runs/<sweep> [setting=value]."""

import sys

from amago_jax.reports.writing import report
from amago_jax.runs.cli import folders_given, hydra_command

if __name__ == "__main__":
    sys.argv[1:] = folders_given(sys.argv[1:])
    hydra_command(report, "report")
