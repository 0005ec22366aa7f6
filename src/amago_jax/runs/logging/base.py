"""What loggers share."""

from collections.abc import Mapping

Row = Mapping[str, float | int | str]
"""Metrics of one epoch by name, such as ``loss/total``."""
