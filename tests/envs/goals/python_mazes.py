"""MazeRunner in plain NumPy, one maze at a time, written from its description alone."""

import numpy as np

MOVES = ((0, -1), (-1, 0), (0, 1), (1, 0), (0, 0))


def grow_maze(rng, side):
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
    """Steps one maze; every observation is a new dictionary, as Gym environments give it."""

    def __init__(self, rng, side, goals, limit):
        self.rng, self.side, self.goals, self.limit = rng, side, goals, limit

    def reset(self):
        walls = grow_maze(self.rng, self.side)
        start = (self.side - 2, self.side // 2)
        free = [cell for cell in zip(*np.where(~walls), strict=True) if cell != start]
        cells = self.rng.choice(len(free), self.goals, replace=False)
        return self.place(walls, start, [tuple(map(int, free[c])) for c in cells], range(5))

    def place(self, walls, position, goals, moves, progress=0, time=0):
        self.walls, self.position, self.cells = walls, tuple(position), goals
        self.moves, self.progress, self.time = moves, progress, time
        return self.observe()

    def step(self, action):
        self.time += 1
        i, j = np.add(self.position, MOVES[self.moves[action]])
        if not self.walls[i, j]:
            self.position = (int(i), int(j))
        reward = 0.0
        if self.progress < self.goals and self.position == self.cells[self.progress]:
            self.progress, reward = self.progress + 1, 1.0
        done = self.progress == self.goals or self.time >= self.limit
        return self.observe(), reward, done

    def observe(self):
        def free(move):
            (i, j), count = np.add(self.position, move), 0
            while not self.walls[i, j]:
                (i, j), count = np.add((i, j), move), count + 1
            return count

        i, j = self.position
        cells = np.array([i, j, *map(free, MOVES[:4])]) / self.side
        shown = [(-1, -1) if n < self.progress else cell for n, cell in enumerate(self.cells)]
        return {
            "observation": np.append(cells, self.time / self.limit).astype(np.float32),
            "goals": np.array(shown, np.int32),
            "achieved": np.array([self.position], np.int32),
        }
