"""What a sweep is made of: its runs, what differs between them, and the folder of each."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from hydra.core.override_parser.types import IntervalSweep
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.learning import Trainer
from amago_jax.runs.config import OURS, Sources, compose, parse_overrides
from amago_jax.runs.flags import CommandLine
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.members import is_side_by_side
from amago_jax.runs.outcome import standing
from amago_jax.runs.processes import cores

LONGEST = 120  # letters in the name of a folder; more than 255 bytes no file system takes


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep, before its first run.

    Attributes:
        overrides: of its command line, those of a preset included.
        swept: names of the settings that differ between runs.
        runs: overrides of every run; of a sweeper that searches, of some that stand for all.
        searches: whether a sweeper chooses the runs while they go.
        folder: what belongs to no run in particular.
        launcher: the name of Hydra's, "basic", "joblib", "local" or "slurm".
        processes: how many runs go on at a time, on this machine.
    """

    overrides: list[str]
    swept: tuple[str, ...]
    runs: list[list[str]]
    searches: bool
    folder: Path
    launcher: str
    processes: int


def plan(line: CommandLine) -> Sweep | None:
    """Find out what a command line sweeps over.

    Returns:
        The sweep; None if the command line is that of a single run.

    Raises:
        ConfigError: if an override is wrong, or is swept over in a way that the sweeper cannot.
    """
    given = plain(line.overrides, line.sources)
    settings = compose(given, line.config_name, hydra_settings=True, sources=line.sources)
    if not line.multirun and settings.hydra.mode != RunMode.MULTIRUN:
        return None
    overrides = [*_preset_overrides(settings, line.overrides), *line.overrides]
    if _preset(settings):
        # What a preset sweeps over is on the command line now, where it stands beside the rest.
        overrides.append("hydra.sweeper.params=null")
    if "sweep" in settings and settings.sweep.name is None:
        overrides.append(f"sweep.name={_new_name()}")
    values = _values(overrides, line.sources)
    searches = not settings.hydra.sweeper._target_.endswith(".BasicSweeper")
    runs = _examples(values) if searches else _combinations(values)
    given = plain(overrides, line.sources)
    hydra = compose(given, line.config_name, hydra_settings=True, sources=line.sources).hydra
    launcher = re.sub(r"(.*\.|Launcher$)", "", hydra.launcher._target_).lower()
    at_once = hydra.sweeper.get("n_jobs", 1) if searches else len(runs)
    if launcher == "joblib":
        jobs = hydra.launcher.n_jobs
        at_once = min(at_once, jobs if jobs > 0 else max(1, cores() + 1 + jobs))
    folder = str(hydra.sweep.dir)
    quoted = folder.replace("\\", "\\\\").replace('"', '\\"')
    return Sweep(
        overrides=[*overrides, f'hydra.sweep.dir="{quoted}"'],
        swept=tuple(_name(setting.override) for setting in values if len(setting.found) > 1),
        runs=runs,
        searches=searches,
        folder=Path(folder),
        launcher=launcher,
        processes=at_once if launcher in ("joblib", "local") else 1,
    )


def plain(overrides: Sequence[str], sources: Sources = OURS) -> list[str]:
    """Return the overrides that do not sweep."""
    parsed = parse_overrides(overrides, sources)
    pairs = zip(overrides, parsed, strict=True)
    return [override for override, found in pairs if not found.is_sweep_override()]


def _preset(settings: DictConfig) -> dict[str, str]:
    params = settings.hydra.sweeper.get("params")
    return {str(key): str(value) for key, value in (params or {}).items()}


def _preset_overrides(settings: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return what a preset sweeps over as overrides, without what the user gives."""
    given = {_name(override) for override in overrides}
    return [f"{key}={value}" for key, value in _preset(settings).items() if key not in given]


class _Values(NamedTuple):
    """An override and all it stands for, as overrides; of an interval, both ends."""

    override: str
    found: list[str]
    interval: bool = False


def _values(overrides: Sequence[str], sources: Sources = OURS) -> list[_Values]:
    values = []
    for override, parsed in zip(overrides, parse_overrides(overrides, sources), strict=True):
        key, value = parsed.get_key_element(), parsed.value()
        if isinstance(value, IntervalSweep):
            ends = [f"{key}={value.start}", f"{key}={value.end}"]
            values.append(_Values(override, ends, interval=True))
        elif parsed.is_sweep_override():
            found = [f"{key}={item}" for item in parsed.sweep_string_iterator()]
            values.append(_Values(override, found))
        else:
            values.append(_Values(override, [override]))
    return values


def _combinations(values: Sequence[_Values]) -> list[list[str]]:
    """Return every run.

    Raises:
        ConfigError: if there is an interval among the values.
    """
    for setting in values:
        if setting.interval:
            raise ConfigError(
                f"{setting.override} gives no values to run one after the other: list them, or "
                "let a sweeper search, as sweep=optuna does"
            )
    return [list(run) for run in itertools.product(*(setting.found for setting in values))]


def _examples(values: Sequence[_Values]) -> list[list[str]]:
    """Return the run of all first values, and for each other value the run that it alone changes.

    What a sweeper will choose is not known; most of what may be wrong with it is wrong here, too.
    """
    first = [setting.found[0] for setting in values]
    return [first] + [
        [*first[:place], value, *first[place + 1 :]]
        for place, setting in enumerate(values)
        for value in setting.found[1:]
    ]


def run_folder(config: DictConfig, overrides: Sequence[str], swept: Sequence[str]) -> Path:
    """Return the folder of a sweep's run, named by what differs from the others.

    Settings and values stand together as in ``agent.tau_0.01+envs_8``: with ``=`` and ``,`` the
    path could not be given to another command without quotes within quotes.

    Args:
        config: the run's settings.
        overrides: the run's.
        swept: names of the settings that differ between runs.
    """
    if config.run_dir is not None:
        return Path(config.run_dir)
    # Environment and seed have places in the path already.
    named = [o for o in overrides if _name(o) in swept and _name(o) not in ("env", "seed")]
    differs = "+".join(f"{_name(o).replace('/', '.')}_{_in_path(o)}" for o in named)
    name = OmegaConf.select(config, "sweep.name", default="sweep")
    if len(differs) > LONGEST:
        raise ConfigError(
            f"so many settings are swept over that no folder can be named by all of them; give "
            f"run_dir=..., with what differs in it, as in run_dir=runs/{name}/"
            f"${{{_name(named[0])}}}"
        )
    folder = Path("runs", config.env.env_id, name, differs)
    return folder if is_side_by_side(config) else folder / f"seed{config.seed}"


def _in_path(override: str) -> str:
    """Return the value of an override without what a path, or Hydra, would take amiss."""
    value = override.partition("=")[2].strip("[]{}'\" ")
    return re.sub(r"[^\w.+-]+", "-", value)


class Folders:
    """The folders of a sweep's runs: what is wrong with them is found before the first begins."""

    def __init__(self, swept: Sequence[str]) -> None:
        """Begin with none.

        Args:
            swept: names of the settings that differ between runs.
        """
        self._swept = swept
        self._owners: dict[Path, Sequence[str]] = {}

    def claim(self, overrides: Sequence[str], config: DictConfig, trainer: Trainer) -> None:
        """Note the folder of one more run.

        Raises:
            ConfigError: if another run goes there, or one of other settings has gone.
        """
        folder = run_folder(config, overrides, self._swept)
        other = self._owners.setdefault(folder.resolve(), overrides)
        if other is not overrides:
            first = " ".join(o for o in other if o not in overrides)
            second = " ".join(o for o in overrides if o not in other)
            both = f"{first or 'one'} and {second or 'another'}"
            raise ConfigError(
                f"run_dir={folder} would hold the runs of {both}: name what differs in it, "
                f"as in run_dir={folder}/seed${{seed}}, or leave it out"
            )
        several = is_side_by_side(config)  # which are kept as they were given
        standing(folder, config if several else in_lanes(config, trainer.replay.window))


def _name(override: str) -> str:
    """Return the name of what an override sets."""
    return override.partition("=")[0].lstrip("+~")


def _new_name() -> str:
    """Name a sweep by the time; one of the same second gets a number."""
    stamp = name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(2):
        if not Path("runs/sweeps", name).exists():
            break
        name = f"{stamp}_{number}"
    return name
