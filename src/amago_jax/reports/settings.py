"""Which runs are seeds of one setting: those whose configurations differ in nothing else.

What environments are made of tells tasks apart, whose returns do not compare; what else differs
tells the settings of a task apart.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from amago_jax.reports.finding import FoundRun

# What a run is not made of: its seed, what ran beside it and where, and where it leaves what.
NO_SETTINGS = {"seed", "seeds", "grid", "run_dir"}
NO_SETTINGS_BELOW = ("logger.", "checkpoint.", "compilation_cache.", "sweep.", "distributed.")
ENVIRONMENT = "env."
ENV_ID = "env.env_id"
UNSET = "unset"  # shown for a setting that only other runs have
USUAL = "base"  # the name of a setting that has what most of the others have throughout


@dataclasses.dataclass(frozen=True)
class Setting:
    """Runs that differ in their seed alone.

    Attributes:
        task: the environment, with what of it differs between the runs found.
        name: of the setting, as short as tells it apart from the task's others.
        values: what differs within the task, by the setting's dotted name, but for what comes with
            a part that is named; of sections that the setting lacks as a whole, the section's name.
        runs: its seeds.
    """

    task: str
    name: str
    values: Mapping[str, str]
    runs: tuple[FoundRun, ...]


def group_runs(runs: Sequence[FoundRun]) -> list[Setting]:
    """Sort runs into settings, by what differs in their configurations.

    Args:
        runs: as found.

    Returns:
        The settings, those of a task together, in the order in which they were found.
    """
    groups: dict[str, list[FoundRun]] = {}
    for run in runs:
        groups.setdefault(_key(_settings(run)), []).append(run)
    environments = [_environment(group[0]) for group in groups.values()]
    tasks: dict[str, list[list[FoundRun]]] = {}
    for group, environment in zip(groups.values(), environments, strict=True):
        tasks.setdefault(_task(environment, environments), []).append(group)
    return [setting for task, found in tasks.items() for setting in _of_task(task, found)]


def telling_apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Choose as few names as tell settings apart as well as all names do.

    Args:
        settings: values by name, of any number of settings.

    Returns:
        The names, the clearest first: those that all have, then the short ones.
    """
    names = differing(settings)

    def clarity(name: str) -> tuple[bool, int, str]:
        return any(name not in values for values in settings), len(name), name

    kept = sorted(names, key=clarity)
    parts = _parts(settings, kept)
    for name in reversed(list(kept)):
        fewer = [other for other in kept if other != name]
        if _parts(settings, fewer) == parts:
            kept = fewer
    return kept


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the names whose values are not the same everywhere."""
    names = dict.fromkeys(name for values in settings for name in values)
    return [name for name in names if _parts(settings, [name]) > 1]


def _of_task(task: str, groups: Sequence[Sequence[FoundRun]]) -> list[Setting]:
    settings = [_settings(group[0]) for group in groups]
    labels = [values.pop("label", None) for values in settings]
    differ, told = _worth_telling(settings), telling_apart(settings)
    usual = _usual(settings, told) if len(groups) > 2 and len(told) > 1 else {}
    found = []
    for values, label, group in zip(settings, labels, groups, strict=True):
        words = [
            f"{_shown(name)}={show(values, name)}"
            for name in told
            if usual.get(name, object()) != show(values, name)
        ]
        described = ", ".join(words) or (USUAL if told else task)
        if label is None:
            name = described
        elif labels.count(label) == 1 or not told:
            name = str(label)
        else:
            name = f"{label}, {described}"
        found.append(Setting(task, name, _differences(values, differ), tuple(group)))
    return found


def _worth_telling(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """List what differs, but for what a part brings along: all that have the part have it alike."""
    names = differing(settings)

    def worth(name: str) -> bool:
        part = f"{name.partition('.')[0]}._target_"
        if name == part or part not in names:
            return True
        by_part: dict[Any, list[Mapping[str, Any]]] = {}
        for values in settings:
            by_part.setdefault(values.get(part), []).append(values)
        return any(_parts(having, [name]) > 1 for having in by_part.values())

    return [name for name in names if worth(name)]


def _differences(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Show one setting's values of names; a section of which it has nothing, in a word."""
    sections = {name.partition(".")[0] for name in values}
    shown = {}
    for name in names:
        section = name.partition(".")[0]
        shown[_shown(name) if section in sections else section] = show(values, name)
    return shown


def show(values: Mapping[str, Any], name: str) -> str:
    """Show a setting's value as it is written on the command line; of a class, its name."""
    if name not in values:
        return UNSET
    value = values[name]
    if name.endswith("_target_"):
        return str(value).rpartition(".")[2]
    if isinstance(value, float):
        return f"{value:.12g}"
    if value is None or isinstance(value, bool | list):
        return json.dumps(value)
    return str(value)


def _shown(name: str) -> str:
    return name.removesuffix("._target_")


def _usual(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    """The value that more than half of the settings share, of names that have one."""
    usual = {}
    for name in names:
        value, count = Counter(show(values, name) for values in settings).most_common(1)[0]
        if 2 * count > len(settings):
            usual[name] = value
    return usual


def _task(environment: Mapping[str, Any], environments: Sequence[Mapping[str, Any]]) -> str:
    env_id = environment.get(ENV_ID)
    telling = telling_apart([other for other in environments if other.get(ENV_ID) == env_id])
    parts = [f"{_shown(name)}={show(environment, name)}" for name in telling]
    return ", ".join([str(env_id), *parts])


def _settings(run: FoundRun) -> dict[str, Any]:
    """What a run is made of; 10 and 10.0 are the same."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in run.config.items()
        if name not in NO_SETTINGS and not name.startswith(NO_SETTINGS_BELOW)
    }


def _environment(run: FoundRun) -> dict[str, Any]:
    settings = _settings(run).items()
    return {name: value for name, value in settings if name.startswith(ENVIRONMENT)}


def _key(settings: Mapping[str, Any]) -> str:
    """One word for settings; null is what runs have that were saved before there was a setting."""
    known = {name: value for name, value in settings.items() if value is not None}
    return json.dumps(known, sort_keys=True, default=str)


def _parts(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """Count how many settings some names tell apart."""
    return len({_key({n: s[n] for n in names if n in s}) for s in settings})
