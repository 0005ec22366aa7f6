"""A run watched from outside for a long time: does anything grow, or slow down?

python tests/soak.py watch 45 soak.jsonl     # minutes, and the file of what was seen
python tests/soak.py draw soak.jsonl soak.png
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from amago_jax.reports.rows import Rows, read_jsonl

SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"
# Small epochs, so that there are many, with evaluations, saves and curves among them.
SETTINGS = ["epochs=10000000", "stop.return=null", "updates=5", "rollout_steps=32"]
SETTINGS += ["env.corridor_length=10", "evaluation.every=5", "checkpoint.every=10"]
# The unit of each, as it is drawn.
WATCHED = {
    "memory": "MB",
    "threads": "",
    "open files": "",
    "memory maps": "",
    "compilations": "",
    "epochs per second": "",
    "processor seconds per epoch": "",
}
WARM_UP = 0.1  # of the time; until then, caches and pools fill


def watch(minutes: float, path: Path, seconds_between: float = 10.0) -> int:
    """Train for so long, write what is seen of the process, and return its exit code.

    Args:
        minutes: after which it is asked to end.
        path: of the file, a line each time.
        seconds_between: two looks at it.
    """
    with tempfile.TemporaryDirectory() as folder, path.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *SETTINGS, f"run_dir={folder}/run"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_LOG_COMPILES": "1"},
        )
        compiled: list[str] = []
        reader = threading.Thread(target=_keep_compilations, args=(process.stderr, compiled))
        reader.start()
        metrics, started = Path(folder) / "run" / "metrics.jsonl", time.monotonic()
        while not metrics.exists() and process.poll() is None:
            time.sleep(0.1)
        before, computed_before, looked = 0, _computed(process.pid), time.monotonic()
        while process.poll() is None and time.monotonic() - started < 60 * minutes:
            time.sleep(seconds_between)
            epochs = metrics.read_bytes().count(b"\n")
            row = {"seconds": time.monotonic() - started, "epochs": epochs}
            row |= _seen(process.pid) | {"compilations": len(compiled)}
            computed, now = _computed(process.pid), time.monotonic()
            row["epochs per second"] = (epochs - before) / (now - looked)
            row["processor seconds per epoch"] = (computed - computed_before) / (
                max(1, epochs - before)
            )
            file.write(json.dumps(row) + "\n")
            file.flush()
            before, computed_before, looked = epochs, computed, now
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        reader.join()
    return code


def _keep_compilations(lines, compiled: list[str]) -> None:
    compiled.extend(line for line in lines if "Finished XLA compilation" in line)


def _seen(pid: int) -> dict[str, float]:
    folder = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", maxsplit=1) for line in (folder / "status").read_text().splitlines()
    )
    return {
        "memory": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "open files": len(list((folder / "fd").iterdir())),
        "memory maps": (folder / "maps").read_bytes().count(b"\n"),
    }


def _computed(pid: int) -> float:
    """Return how many seconds a process has computed, on all cores."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def change(rows: Rows, name: str) -> tuple[float, float]:
    """Return the median of the first quarter after the warm-up, and that of the last quarter."""
    values = [row[name] for row in rows[int(WARM_UP * len(rows)) :]]
    quarter = max(1, len(values) // 4)
    return statistics.median(values[:quarter]), statistics.median(values[-quarter:])


def what_grew(rows: Rows, megabytes_per_epoch: float = 0.001) -> list[str]:
    """Return what was not flat, a sentence each.

    Args:
        rows: as `watch` writes them.
        megabytes_per_epoch: of metrics, which a run keeps.
    """
    found = []
    middle = [row["epochs"] for row in rows]
    for name in WATCHED:
        before, after = change(rows, name)
        allowed = 0.0
        if name == "memory":
            allowed = 0.02 * before + megabytes_per_epoch * (middle[-1] - middle[0])
        elif name in ("threads", "open files"):
            allowed = 2.0  # of a save that is under way
        elif name == "memory maps":
            allowed = 0.05 * before
        elif name == "processor seconds per epoch":
            allowed = 0.1 * before
        grew = after - before > allowed
        if name == "epochs per second":
            grew = after < 0.8 * before
        if grew:
            found.append(f"{name}: {before:.4g} at first, {after:.4g} at last")
    return found


def draw(rows: Rows, path: Path) -> None:
    """Draw what was seen over minutes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(14, 6), constrained_layout=True)
    minutes = [row["seconds"] / 60 for row in rows]
    for axis, (name, unit) in zip(axes.flat, WATCHED.items(), strict=False):
        axis.plot(minutes, [row[name] for row in rows])
        axis.set_title(f"{name}{unit and f' ({unit})'}")
        axis.set_xlabel("minutes")
        axis.set_ylim(bottom=0)
    axes.flat[-1].set_axis_off()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str]) -> None:
    """Watch or draw, as the arguments say."""
    what, *rest = arguments
    if what == "watch":
        print(f"ended with exit code {watch(float(rest[0]), Path(rest[1]))}")
        print("\n".join(what_grew(read_jsonl(rest[1]))) or "nothing grew")
    else:
        draw(read_jsonl(rest[0]), Path(rest[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
