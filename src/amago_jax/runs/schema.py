"""The schema of configurations: what every setting may be, whatever it is for.

Settings of a run itself, and of the commands, are in the tables here. Those of a part are read off
the signature of what its ``_target_`` names, so that a part of one's own is checked as well.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax import envs
from amago_jax.baselines.ppo import SETTINGS as PPO_SETTINGS
from amago_jax.errors import ConfigError, config_errors, first_line
from amago_jax.kinds import Items, Listed, Named, show
from amago_jax.reports import comparing, writing
from amago_jax.runs import compilation_cache
from amago_jax.runs.named_parts import find_part
from amago_jax.settings import (
    Count,
    Label,
    Name,
    NotNegative,
    Positive,
    Seed,
    Setting,
    Share,
    Signature,
    Size,
    check,
    check_part,
    signature_of,
)
from amago_jax.types import Attention

Sizes = Annotated[tuple[Size, ...], Listed(least=1)]
Seeds = Annotated[tuple[Seed, ...], Listed(least=1, different=True)]
Grid = Annotated[dict[str, Any], Named(Items(None, Listed(least=1)), least=1)]

RUN: dict[str, Any] = {
    "seed": Seed,
    "seeds": Size | Seeds | None,
    "grid": Grid | None,
    "label": Label | None,
    "imports": tuple[Name, ...],
    "extra_losses": dict[str, dict[str, Any]],
    "resume": Name | None,
    "run_dir": Name | None,
    "context_length": Size | None,
    "devices": Size | None,
    "envs": Size,
    "lanes": Size | None,
    "epochs": Size,
    "rollout_steps": Size,
    "updates": Size,
    "learning_starts": Count,
    "batch_size": Size,
    "batches_per_update": Size,
    "attention": Attention,
    "dtype": Literal["float32", "bfloat16"],
    "rematerialize": bool,
    "on_nan": Literal["stop", "skip"],
    "on_env_nan": Literal["stop", "restart"],
    "greedy_rollouts": bool,
    "evaluation.every": Size,
    "evaluation.episodes": Size,
    "evaluation.greedy": bool,
    "stop.return": float | None,
    "stop.evaluations": Size,
    "checkpoint.every": Size,
    "checkpoint.keep": Size,
    "checkpoint.on_error": Literal["stop", "continue"],
    "checkpoint.replay": bool,
    "logger.console": bool,
    "logger.plots": bool,
    "distributed.auto": bool,
    "distributed.coordinator": Name | None,
    "distributed.processes": Size | None,
    "distributed.process": Count | None,
    "distributed.timeout": Size,
    "sweep.name": Label | None,
    "sweep.metric": Name,
    "sweep.average": Size,
}
CACHE = {f"compilation_cache.{name}": one for name, one in compilation_cache.SETTINGS.items()}
# By the files at the top of conf/, which the commands read.
TABLES: dict[str, dict[str, Any]] = {
    "config": RUN | CACHE,
    "benchmark": RUN | CACHE | {"benchmark.repeats": Size, "benchmark.output": Name | None},
    "ppo": RUN | CACHE | {f"ppo.{name}": one for name, one in PPO_SETTINGS.items()},
    "estimate": RUN | CACHE | {"target": Name, "measure": bool, "output": Name | None},
    "evaluate": CACHE
    | {
        "checkpoint": Name,
        "step": Literal["newest", "best"] | Count,
        "episodes": Size,
        "greedy": bool,
        "seed": Seed,
        "render": bool,
        "imports": tuple[Name, ...],
        "overrides": tuple[Name, ...],
    },
    "plot": comparing.SETTINGS,
    "report": writing.SETTINGS,
    "benchmark_attention": CACHE
    | {
        "lengths": Sizes,
        "backends": Annotated[tuple[Attention, ...], Listed(least=1)],
        "blocks": tuple[Size, ...],
        "dtype": Literal["float32", "bfloat16"],
        "batch_size": Size,
        "heads": Size,
        "head_width": Size,
        "repeats": Size,
    },
    "benchmark_decoding": CACHE
    | {
        "contexts": Sizes,
        "filled": Annotated[tuple[Share, ...], Listed(least=1)],
        "rows": Size,
        "steps": Size,
        "repeats": Size,
        "output": Name | None,
        "transformer": dict[str, Any],
    },
    "benchmark_envs": CACHE
    | {
        "environments": Name | dict[str, dict[str, Any]],
        "copies": Sizes,
        "seconds": Positive,
        "repeats": Size,
        "most_bytes": Positive,
    },
}
# Commands that read a run's settings, and their own beside them.
RUN_COMMANDS = ("benchmark", "estimate", "ppo")
OWN = {
    name: {key.partition(".")[0] for key in TABLES[name].keys() - TABLES["config"].keys()}
    for name in RUN_COMMANDS
}
# Runs that were saved before there were such settings have none, in whole or in part.
LATER = (
    "seeds",
    "grid",
    "resume",
    "lanes",
    "attention",
    "rematerialize",
    "learning_starts",
    "on_nan",
    "on_env_nan",
    "label",
    "imports",
    "extra_losses",
    "checkpoint.on_error",
    "checkpoint.replay",
    "compilation_cache.",
    "distributed.",
    "hindsight",
    "sweep.",
)
# What is built, and which arguments of it are no settings, for they come from other parts.
_MODULE = ("name", "parent")  # which every module of Flax has
GIVEN: dict[str, tuple[str, ...]] = {
    "agent": (
        "distribution",
        "timestep_encoder",
        "trajectory_encoder",
        "actor",
        "advantage_filter",
        "extra_losses",
        "axis_name",
    ),
    "distribution": ("actions", "kind"),
    "actor": ("gammas", "parameter_count", *_MODULE),
    "advantage_filter": (),
    "timestep_encoder": ("axis_name", "dtype", "codes", *_MODULE),
    "trajectory_encoder": ("context_length", "dtype", "attention", "platform", *_MODULE),
    "exploration": (),
    "optimizer": (),
    "replay": ("window",),
    "hindsight": ("protocol",),
    "env": (),
}
# Likewise of parts by names of one's own, in a section of a run's settings.
NAMED: dict[str, tuple[str, ...]] = {
    "logger": (),
    "extra_losses": ("actions", "kind", "dtype", *_MODULE),
}
# Settings of a part that are not for its signature to name.
BESIDE: dict[str, dict[str, Any]] = {"extra_losses": {"coefficient": NotNegative}}
# Settings that the environment tells unless they are given.
TOLD = ("horizon",)
_NOT_YET = "HydraConfig was not set"
MAKE_ENV = "amago_jax.envs.make"


def check_settings(config: DictConfig, kind: str | None = None) -> None:
    """Check every setting of a configuration, before anything is built.

    What settings come to together is found out where they meet.

    Args:
        config: what was composed, or saved.
        kind: the file at the top of conf/ whose settings it has; None: a run's, whichever command
            it is for.

    Raises:
        ConfigError: if a setting does not exist, is missing, or is not what it must be.
    """
    if kind is None:
        kind = next((name for name in RUN_COMMANDS if OWN[name] & {*config}), "config")
    table = TABLES[kind]
    groups = GIVEN if RUN.keys() <= table.keys() else {}
    for name in groups:
        if name not in LATER and not OmegaConf.is_dict(config.get(name)):
            raise ConfigError(f"{name} is missing: give {name}=<a choice>")
    tree = _plain(config)
    found = dict(_flat(tree, table, groups))
    for name, value in found.items():
        if value == "???":
            raise ConfigError(f"{name} is missing: give {name}=...")
        if name not in table:
            raise ConfigError(f"there is no setting {name!r}{_near(name, [*table, *groups])}")
        check(name, value, table[name])
    for name in table:
        section = name.partition(".")[0]
        later = name in LATER or (section not in tree and f"{section}." in LATER)
        if name not in found and not later:
            raise ConfigError(f"{name} is missing: give {name}=...")
    for name in groups:
        if name in tree:
            check_group(name, tree[name])
    for name, entry in _named(tree):
        check_group(name, entry)


def check_section(name: str, settings: Mapping[str, Any]) -> None:
    """Check the settings of a section of a run's, such as "distributed".

    Raises:
        ConfigError: if one is not what it must be.
    """
    for key, value in settings.items():
        check(f"{name}.{key}", value, RUN[f"{name}.{key}"])


def check_group(group: str, settings: Any) -> None:
    """Check the settings of what is built of a group of conf/.

    Args:
        group: in `GIVEN`, or the dotted name of a part in a section of `NAMED`.
        settings: by name, and the part, ``_target_``.

    Raises:
        ConfigError: if there is no such part, or see `check_settings`.
    """
    target = settings.get("_target_") if isinstance(settings, Mapping) else None
    if not isinstance(target, str):
        raise ConfigError(
            f"{group} must be settings by name, and a _target_, which names what they are of"
        )
    own = {name: value for name, value in settings.items() if name != "_target_"}
    section = group.partition(".")[0]
    beside = BESIDE.get(section, {})
    for name, annotation in beside.items():
        check(f"{group}.{name}", own.pop(name, 1.0), annotation)
    part = find_part(group, target)
    if target == MAKE_ENV:
        env_id = own.pop("env_id", None)
        check("env.env_id", env_id, Name)
        with config_errors():
            envs.check_settings(env_id, own, "env.")
    else:
        if group == "env" and "env_id" not in signature_of(part).settings:
            check("env.env_id", own.pop("env_id", group), Name)  # what folders and tables call it
        given = (GIVEN | NAMED).get(section, ())
        check_part(part, own, of=group, prefix=f"{group}.", given=given, told=TOLD, beside=beside)


def settings_of(config: DictConfig) -> dict[str, Setting]:
    """Return every setting that a training configuration could have, by dotted name.

    But for those of parts by names of one's own, see `NAMED`: there is no end of them.

    Args:
        config: which parts it names says which settings there are.
    """
    tree = _plain(config)
    found = {
        name: Setting(one, None, check_settings)
        for name, one in TABLES["config"].items()
        if name not in NAMED
    }
    for group, given in GIVEN.items():
        known = _signature(group, tree[group]).settings
        found |= {f"{group}.{name}": one for name, one in known.items() if name not in given}
    return found


def is_setting(name: str, config: DictConfig) -> bool:
    """Whether a training configuration could have a setting, which it may lack.

    Args:
        name: dotted.
        config: which parts it names says which settings there are.
    """
    group, _, own = name.partition(".")
    if group not in GIVEN:
        return name in TABLES["config"] and name not in NAMED
    settings = _plain(config).get(group)
    if not isinstance(settings, Mapping) or "_target_" not in settings or own in GIVEN[group]:
        return False
    return own in _signature(group, settings).settings


def _signature(group: str, settings: Mapping[str, Any]) -> Signature:
    if settings["_target_"] == MAKE_ENV:
        return envs.signature(settings["env_id"])
    return signature_of(find_part(group, settings["_target_"]))


def _named(tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield parts by dotted name: what in a section of `NAMED` is no setting but a part."""
    for section in NAMED:
        entries = tree.get(section)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(entry, Mapping):
                yield f"{section}.{name}", entry


def _flat(
    tree: Mapping[str, Any], table: Mapping[str, Any], groups: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield all settings by dotted name but for those of groups, of named parts and of Hydra."""
    parts = dict(_named(tree))
    sections = {name.partition(".")[0] for name in table if "." in name}
    for name, value in tree.items():
        if name in groups or name == "hydra":
            continue
        if name not in sections:
            yield str(name), value
        elif isinstance(value, Mapping):
            own = {f"{name}.{key}": one for key, one in value.items()}
            yield from ((key, one) for key, one in own.items() if key not in parts)
        else:
            first = next(key for key in table if key.startswith(f"{name}."))
            raise ConfigError(f"{name}={show(value)} is no setting, but {first} is, for example")


def _plain(config: DictConfig) -> dict[str, Any]:
    """Return a configuration with what its interpolations stand for.

    What Hydra tells only where the run is, such as ``${hydra:job.num}``, is left out.
    """
    free = config
    while True:
        try:
            tree: Any = OmegaConf.to_container(free, resolve=True)
        except OmegaConfBaseException as error:
            name = str(error.full_key)
            if _NOT_YET not in str(error) or "." in name or name not in RUN:
                raise ConfigError(f"{name}: {first_line(error)}") from error
            free = free.copy()
            free[name] = None
        else:
            return dict(tree)


def _near(name: str, known: Sequence[str]) -> str:
    """Say which settings have names like this one."""
    ends = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    close = [*ends, *difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    named = " or ".join(dict.fromkeys(close))
    return f"; did you mean {named}?" if close else "; docs/settings.md lists all"
