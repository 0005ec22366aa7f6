"""What vendors' loggers leave behind, read back without the vendors' servers."""

import dataclasses
import json
import struct
import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


@dataclasses.dataclass
class Found:
    """What was found of a run.

    Attributes:
        rows: numbers by name, in the order in which they were logged.
        config: settings by dotted name, as text.
        pictures: names.
        outcome: the vendor's own word for how the run ended; None where it has none.
    """

    rows: list[dict[str, float]]
    config: dict[str, str]
    pictures: set[str]
    outcome: Any = None


def _flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _wandb_records(path):
    """Yield the messages of a file in the format of LevelDB's logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        if at + 7 + length > len(data):  # still being written
            return
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last part of one
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def _finished_records(path, seconds=10.0):
    """Return the messages of a run that has ended: its last are written a moment after that."""
    for _ in range(int(seconds / 0.02)):
        records = list(_wandb_records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.02)
    raise AssertionError(f"{path} has no end")


def read_wandb(folder: Path) -> Found:
    """Read what was logged offline in a run's folder."""
    found, ids = Found([], {}, set()), set()
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in _finished_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
                tree = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                found.config |= dict(_flat(tree))
            elif kind == "exit":
                found.outcome = record.exit.exit_code
            elif kind == "history":
                items = record.history.item
                pictures = {item.nested_key[0] for item in items if len(item.nested_key) > 1}
                found.pictures |= pictures
                if not pictures:
                    row = {x.key or x.nested_key[0]: json.loads(x.value_json) for x in items}
                    found.rows.append({k: v for k, v in row.items() if k[0] != "_"})
    assert len(ids) == 1, ids
    return found


def _events(path):
    from tensorboardX.proto.event_pb2 import Event

    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        event = Event()
        event.ParseFromString(data[at + 12 : at + 12 + length])
        yield event
        at += 16 + length


def read_tensorboard(folder: Path) -> Found:
    """Read event files in a run's folder as TensorBoard does: what is purged is gone."""
    found = Found([], {}, set())
    steps: dict[int, dict[str, float]] = {}
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda p: int(p.suffix[1:])):
        for event in _events(path):
            if event.HasField("session_log"):
                steps = {step: row for step, row in steps.items() if step < event.step}
            for value in event.summary.value:
                if value.HasField("image"):
                    found.pictures.add(value.tag)
                elif value.HasField("tensor"):
                    text = value.tensor.string_val[0].decode()
                    tree = OmegaConf.to_container(OmegaConf.create(text))
                    found.config |= dict(_flat(tree))
                else:
                    steps.setdefault(event.step, {})[value.tag] = value.simple_value
    found.rows = list(steps.values())
    return found


def read_trackio(name: str, project: str = "amago_jax") -> Found:
    """Read a run of Trackio's database by the end of its name."""
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = (one for one in SQLiteStorage.get_runs(project) if one.endswith(name))
    found = Found([], {}, set())
    config = SQLiteStorage.get_run_config(project, run) or {}
    found.config = {key: str(value) for key, value in config.items()}
    for logged in SQLiteStorage.get_logs(project, run):
        pictures = {key for key, value in logged.items() if isinstance(value, dict)}
        found.pictures |= pictures
        if not pictures:
            found.rows.append({k: v for k, v in logged.items() if k not in ("timestamp", "step")})
    return found


def read_mlflow(uri: str, run_id: str) -> Found:
    """Read a run of MLflow's by its id."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run = client.get_run(run_id)
    steps: dict[int, dict[str, float]] = {}
    for name in run.data.metrics:
        for metric in client.get_metric_history(run_id, name):
            row = steps.setdefault(metric.step, {})
            assert name not in row, f"{name} is there twice at {metric.step}"
            row[name] = metric.value
    files = {file.path for file in client.list_artifacts(run_id)}
    assert "config.yaml" in files
    pictures = {Path(file).stem for file in files if file.endswith(".png")}
    rows = [steps[step] for step in sorted(steps)]
    return Found(rows, dict(run.data.params), pictures, run.info.status)
