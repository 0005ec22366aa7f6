"""A logger for tests, which keeps what it is called with."""

from amago_jax.runs.logging import Logger

RECORDED = "+logger.mine._target_=recorders.Recorder"
BROKEN = ["+logger.broken._target_=recorders.Recorder", "+logger.broken.fails=log"]


class Recorder(Logger):
    """Keeps what it is called with, unless it is to fail."""

    made: "list[Recorder]" = []  # noqa: RUF012 - of all, for tests to look at

    def __init__(self, fails=""):
        self.calls, self.fails = [], fails
        self.made.append(self)

    def _called(self, name, *arguments):
        if name == self.fails:
            raise RuntimeError(f"the server is gone\nat {name}")
        self.calls.append((name, *arguments))

    def start(self, info):
        print("pages of thanks")
        self._called("start", info)
        return 7  # as whoever does not read types

    def log(self, row, step):
        self._called("log", row, step)

    def picture(self, name, path, step):
        self._called("picture", name, step)

    def close(self, outcome):
        self._called("close", outcome)
