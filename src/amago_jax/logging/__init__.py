"""Where metrics go: a file of JSON lines and the console."""

from amago_jax.logging.base import Row
from amago_jax.logging.console import ConsoleLogger
from amago_jax.logging.jsonl import JsonLinesLogger, read_jsonl

__all__ = ["ConsoleLogger", "JsonLinesLogger", "Row", "read_jsonl"]
