"""Several seeds and learning rates in one program: python examples/seeds_side_by_side.py.

Each is a run of its own, with a folder of its own, and the numbers it would have alone.
"""

from collections.abc import Sequence

import amago_jax

MAZE = ["env=tmaze/passive", "env.corridor_length=5", "rollout_steps=14", "epochs=5"]


def main(
    settings: Sequence[str] = (),
    folder: str = "runs/examples/seeds",
    seeds: int = 2,
    rates: Sequence[float] = (1e-4, 1e-3),
) -> dict[str, float]:
    """Train them all.

    Args:
        settings: further ones, as on the command line.
        folder: where results go, a folder to each run.
        seeds: how many of each learning rate.
        rates: the learning rates.

    Returns:
        The last return of every run, by its folder.
    """
    listed = ",".join(map(str, rates))
    grid = f"grid={{optimizer.learning_rate:[{listed}]}}"
    runs = amago_jax.make_runs([*MAZE, *settings, f"seeds={seeds}", grid], run_dir=folder)
    for rows in runs.epochs():
        told = [f"{row['evaluation/return']:.2f}" for row in rows.values()]
        print("returns", *told)
    for run in runs.runs:
        run.save()
    last = {str(run.directory): run.rows[-1]["evaluation/return"] for run in runs.runs}
    for name, value in last.items():
        print(f"{name}: {value:.2f}")
    return last


if __name__ == "__main__":
    main()
