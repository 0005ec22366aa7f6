"""Where metrics go: a file of JSON lines and the console."""

from amago_jax.runs.logging.base import Row
from amago_jax.runs.logging.console import ConsoleLogger
from amago_jax.runs.logging.jsonl import JsonLinesLogger

__all__ = ["ConsoleLogger", "JsonLinesLogger", "Row"]
