"""How often XLA compiles, and how long: for tests that count it, and as a table of all files."""

import collections
import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import pytest

COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = "/jax/core/compile/jaxpr_trace_duration"
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COLUMNS = {"tests": "tests", "seconds": "seconds"}
COLUMNS |= {"compiling": COMPILED, "tracing": TRACED, "lowering": LOWERED}


@contextlib.contextmanager
def compiled_programs() -> Iterator[list[str]]:
    """Give a list that grows with every program compiled inside, in whichever thread."""
    programs: list[str] = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if event == COMPILED:
            programs.append(f"{details.get('fun_name')} in {duration_secs:.2f} s")

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


class CompilationTable:
    """A pytest plugin: what each file spends on compiling, tracing and lowering."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, float]] = collections.defaultdict(
            lambda: collections.defaultdict(float)
        )
        self._current: str | None = None
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if self._current is not None:
            self.files[self._current][event] += duration_secs

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._current = item.location[0]
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = self.files[report.location[0]]
        found["tests"] += report.when == "call"
        found["seconds"] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)  # of a process of pytest-xdist
        if output is not None:
            output["compilations"] = {name: dict(found) for name, found in self.files.items()}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        for name, found in getattr(node, "workeroutput", {}).get("compilations", {}).items():
            for column in (COMPILED, TRACED, LOWERED):
                self.files[name][column] += found.get(column, 0.0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print a Markdown table, the slowest file first."""
        rows = sorted(self.files.items(), key=lambda row: -row[1]["seconds"])
        total = {name: sum(found[name] for _, found in rows) for name in COLUMNS.values()}
        terminalreporter.write_line(f"| file | {' | '.join(COLUMNS)} |")
        terminalreporter.write_line("| --- |" + " ---: |" * len(COLUMNS))
        for name, found in [*rows, ("all", total)]:
            cells = [f"{found[counted]:.0f}" for counted in COLUMNS.values()]
            terminalreporter.write_line(f"| {name} | {' | '.join(cells)} |")
