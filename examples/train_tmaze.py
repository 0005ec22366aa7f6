"""Train an agent with memory on the T-Maze, and draw its curves: python examples/train_tmaze.py.

A bit shown at a corridor's start says which way to turn at its end. Chance returns 0.5, memory 1.0.
"""

from collections.abc import Sequence
from pathlib import Path

import amago_jax

MAZE = ["env=tmaze/passive", "env.corridor_length=5", "rollout_steps=14"]


def main(settings: Sequence[str] = (), folder: str = "runs/examples/tmaze") -> float:
    """Train, save and evaluate a run.

    Args:
        settings: further ones, as on the command line: ``["epochs=5"]``.
        folder: where results go.

    Returns:
        The mean return of the trained agent.
    """
    run = amago_jax.make_run([*MAZE, *settings], run_dir=folder)
    seconds = run.compile()
    print(f"compiled in {seconds:.0f} s")

    # One compiled call each: rollouts, replay, learning and evaluation. It ends once the return
    # has been 1.0 in three evaluations.
    for row in run.epochs():
        seen, earned = row["env_steps"], row["evaluation/return"]
        print(f"epoch {row['epoch']:.0f}: {seen:.0f} steps, return {earned:.2f}")

    checkpoint = run.save()
    run.plot()
    print(f"saved {Path(checkpoint)}; curves are in {run.directory}")

    # Other episodes than those of the last epoch's evaluation.
    evaluation = run.evaluate(fold=1)
    print(f"return {evaluation['evaluation/return']:.2f}")
    return evaluation["evaluation/return"]


if __name__ == "__main__":
    main()
