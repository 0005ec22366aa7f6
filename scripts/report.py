"""Report on the runs of a sweep: python scripts/report.py runs/<sweep> [setting=value]."""

from amago_jax.__main__ import report

if __name__ == "__main__":
    report()
