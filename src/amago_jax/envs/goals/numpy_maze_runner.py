"""MazeRunner in plain NumPy, one maze at a time: what tests and speed are compared with.

Written from the task's description alone, as a Python environment would be.
"""

from collections.abc import Sequence

import numpy as np

MOVES = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))

Cell = tuple[int, int]
Observation = dict[str, np.ndarray]


def grow_maze(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return the walls of a random maze, bool ``[side, side]``."""
    walls = np.zeros((side, side), bool)
    walls[[0, -1]] = walls[:, [0, -1]] = True
    for _ in range(int(0.75 * (side // 2) ** 2)):
        i, j = 2 * rng.integers(0, side // 2 + 1, 2)
        walls[i, j] = True
        for _ in range(int(0.75 * 5 * 2 * side)):
            near = [(i, j - 2), (i, j + 2), (i - 2, j), (i + 2, j)]
            near = [(a, b) for a, b in near if 0 <= a < side and 0 <= b < side]
            a, b = near[rng.integers(len(near))]
            if not walls[a, b]:
                walls[a, b] = walls[(a + i) // 2, (b + j) // 2] = True
                i, j = a, b
    walls[side - 5 : side - 1, 1:-1] = False
    walls[side - 4 : side - 1, [side // 2 - 1, side // 2 + 1]] = True
    return walls


class NumpyMazeRunner:
    """One maze at a time; every observation is a new dictionary, as Gym environments give it."""

    def __init__(self, rng: np.random.Generator, side: int, goals: int, limit: int):
        """Fix the sizes, see `amago_jax.envs.goals.maze_runner.make_maze_runner`."""
        self.rng, self.side, self.goals, self.limit = rng, side, goals, limit

    def reset(self) -> Observation:
        """Grow a maze and draw goals."""
        walls = grow_maze(self.rng, self.side)
        start = (self.side - 2, self.side // 2)
        free = [(i, j) for i, j in np.argwhere(~walls).tolist() if (i, j) != start]
        cells = self.rng.choice(len(free), self.goals, replace=False)
        return self.place(walls, start, [free[c] for c in cells], range(5))

    def place(
        self, walls: np.ndarray, position: Cell, goals: Sequence[Cell], moves: Sequence[int]
    ) -> Observation:
        """Begin an episode in a given maze, with actions that mean given `MOVES`."""
        self.walls, self.position, self.cells, self.moves = walls, position, goals, moves
        self.progress = self.time = 0
        return self.observe()

    def step(self, action: int) -> tuple[Observation, float, bool]:
        """Return what is seen, the reward, and whether the episode is over."""
        self.time += 1
        di, dj = MOVES[self.moves[action]]
        target = (self.position[0] + di, self.position[1] + dj)
        if not self.walls[target]:
            self.position = target
        reward = 0.0
        if self.progress < self.goals and self.position == self.cells[self.progress]:
            self.progress, reward = self.progress + 1, 1.0
        done = self.progress == self.goals or self.time >= self.limit
        return self.observe(), reward, done

    def observe(self) -> Observation:
        """Return what is seen and the goals, as `MazeRunner.observe` does."""

        def free(move: Cell) -> int:
            (i, j), count = self.position, 0
            while not self.walls[i + move[0], j + move[1]]:
                i, j, count = i + move[0], j + move[1], count + 1
            return count

        i, j = self.position
        cells = np.array([i, j, *map(free, MOVES[:4])]) / self.side
        shown = [(-1, -1) if n < self.progress else cell for n, cell in enumerate(self.cells)]
        return {
            "observation": np.append(cells, self.time / self.limit).astype(np.float32),
            "goals": np.array(shown, np.int32),
            "achieved": np.array([self.position], np.int32),
        }
