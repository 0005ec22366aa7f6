"""The command ``amago-jax``, also ``python -m amago_jax``: what the scripts do, from any folder."""

import difflib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from amago_jax.errors import UserError
from amago_jax.runs.cli import fail, folders_given, hydra_command


def train() -> None:
    """Train an agent."""
    from amago_jax.runs.commands import resume, train

    hydra_command(train, "config", resume=resume)


def evaluate() -> None:
    """Evaluate a trained agent."""
    from amago_jax.runs.commands import evaluate

    hydra_command(evaluate, "evaluate")


def plot() -> None:
    """Draw learning curves of several runs in one picture."""
    from amago_jax.reports.comparing import compare

    hydra_command(compare, "plot")


def report() -> None:
    """Report on the runs of a sweep."""
    from amago_jax.reports.writing import report

    sys.argv[1:] = folders_given(sys.argv[1:])
    hydra_command(report, "report")


def estimate() -> None:
    """Estimate what a run would take, on a device that need not be here."""
    from amago_jax.measure.estimating import check_estimate, describe_only, print_estimate

    try:
        describe_only(sys.argv[1:])
    except UserError as error:
        fail(error)
    hydra_command(print_estimate, "estimate", check_estimate)


def ppo() -> None:
    """Train recurrent PPO on a run's streams, to compare with."""
    from amago_jax.runs.on_policy import check_ppo, train_ppo

    hydra_command(train_ppo, "ppo", check_ppo)


def benchmark() -> None:
    """Measure learner, rollout and end-to-end speed."""
    from amago_jax.measure.speed import benchmark

    hydra_command(benchmark, "benchmark")


# By name, with arguments as an example. Each imports what it needs when it is called.
COMMANDS: dict[str, tuple[Callable[[], None], str]] = {
    "train": (train, "env=tmaze/active seed=1"),
    "evaluate": (evaluate, "checkpoint=<run folder>"),
    "plot": (plot, "runs=[<run folder>,<run folder>] output=curves.png"),
    "report": (report, "<folder of runs>"),
    "estimate": (estimate, "target=h100 experiment=tmaze"),
    "ppo": (ppo, "env=popgym/RepeatFirstEasy trajectory_encoder=gru"),
    "benchmark": (benchmark, "batch_size=8"),
}


def usage() -> str:
    """Return the list of commands, each with an example."""
    lines = ["usage: amago-jax <command> [setting=value] ..., or amago-jax <command> --help", ""]
    for name, (command, example) in COMMANDS.items():
        lines += [f"  amago-jax {name} {example}", f"      {command.__doc__}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments: the command's name, its settings and flags; None: those of the process.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = given[0] if given else "--help"
    if name in ("--help", "-h", "help"):
        print(usage())
    elif name in ("--version", "version"):
        print(f"amago_jax {version('amago_jax')}")
    elif name in COMMANDS:
        # Hydra reads what is left; processes that it starts find the command again by `-m`.
        sys.argv = [sys.argv[0], *given[1:]]
        COMMANDS[name][0]()
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        print(f"error: there is no command {name!r}; {hint}{usage()}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
