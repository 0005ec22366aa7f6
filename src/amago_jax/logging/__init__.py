"""Where metrics go: a file of JSON lines, the console, or several places at once."""

from amago_jax.logging.base import Logger, MultiLogger, Row
from amago_jax.logging.console import ConsoleLogger
from amago_jax.logging.jsonl import JsonLinesLogger, read_jsonl

__all__ = ["ConsoleLogger", "JsonLinesLogger", "Logger", "MultiLogger", "Row", "read_jsonl"]
