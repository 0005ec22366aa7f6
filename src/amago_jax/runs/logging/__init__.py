"""Where metrics go: the console, a file of JSON lines, and vendors' loggers."""

from amago_jax.runs.logging.base import Logger, Outcome, Row, RunInfo
from amago_jax.runs.logging.console import ConsoleLogger
from amago_jax.runs.logging.jsonl import JsonLinesLogger
from amago_jax.runs.logging.loggers import Loggers, build_loggers
from amago_jax.runs.logging.mlflow import MlflowLogger
from amago_jax.runs.logging.tensorboard import TensorBoardLogger
from amago_jax.runs.logging.trackio import TrackioLogger
from amago_jax.runs.logging.wandb import WandbLogger

__all__ = [
    "ConsoleLogger",
    "JsonLinesLogger",
    "Logger",
    "Loggers",
    "MlflowLogger",
    "Outcome",
    "Row",
    "RunInfo",
    "TensorBoardLogger",
    "TrackioLogger",
    "WandbLogger",
    "build_loggers",
]
