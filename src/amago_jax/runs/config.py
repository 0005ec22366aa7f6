"""Configuration: a run's settings, composed from conf/ and overrides.

What does not exist, or is malformed, is said in one sentence with the nearest that would work.
"""

import contextlib
import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax import envs
from amago_jax.envs.registry import SUITES
from amago_jax.errors import ConfigError, first_line, how_to_install
from amago_jax.runs.composing import compose_sooner
from amago_jax.runs.own_parts import fitted, import_modules, is_ours, settings_in
from amago_jax.runs.schema import GIVEN

PACKAGED = Path(__file__).parents[1] / "conf"
# An installed wheel carries conf/ inside the package; a checkout has it at the top.
CONF_DIR = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"
PRESETS = ("experiment", "sweep")  # groups whose files choose environments
# What pip installs for Hydra's launchers and sweepers, by the names of their choices.
EXTRAS = {
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "optuna": "optuna",
}
MANY_ENVS = "one of your own needs imports=[my_module], which registers it; env=? lists the others"


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where configurations come from, besides what Hydra's search path adds.

    Attributes:
        main: a folder instead of conf/, or a package, ``pkg://...``; None: conf/.
        added: a folder of one's own, searched after that one.
    """

    main: str | None = None
    added: str | None = None

    @property
    def folders(self) -> list[Path]:
        """The folders in which files may be looked for."""
        main = CONF_DIR if self.main is None else Path(self.main)
        return [main, *([] if self.added is None else [Path(self.added)])]


OURS = Sources()


def offer_environments(overrides: Sequence[str] = (), sources: Sources = OURS) -> None:
    """Offer every environment as ``env=<id>``; a file in conf/ takes precedence.

    Of other packages' suites, only the environments that the overrides, or an experiment or a
    sweep, mention: to list them all takes seconds of imports. Whether there are such environments
    is found out when they are made. Modules of ``imports=[...]`` are imported, which may register
    more.

    Args:
        overrides: as on the command line.
        sources: where experiments and sweeps are.

    Raises:
        ConfigError: if a module cannot be imported.
    """
    for item in overrides:
        if item.partition("=")[0].lstrip("+") == "imports":
            import_modules(modules_named(item))
    presets = [
        path
        for folder in sources.folders
        for group in PRESETS
        for path in (folder / group).glob("*.yaml")
    ]
    text = " ".join([*overrides, *(path.read_text() for path in presets)])
    mentioned = re.findall(rf"\b(?:{'|'.join(SUITES)})/[\w.-]+", text)
    for env_id in {*envs.list_ids(suites=False), *mentioned}:
        _offer_environment(env_id)


@functools.cache
def _offer_environment(env_id: str) -> None:
    if (CONF_DIR / "env" / f"{env_id}.yaml").exists():
        return
    folder, _, name = f"env/{env_id}".rpartition("/")
    node = {"env": {"_target_": "amago_jax.envs.make", "env_id": env_id}}
    ConfigStore.instance().store(group=folder, name=name, node=node, package="_global_")


def open_settings(overrides: Sequence[str]) -> list[str]:
    """Let settings be given that no file in conf/ names: an environment's, and those of own parts.

    Which ones there are, the environment says when it is made, and the signature of a part whose
    ``_target_`` is given beside them.

    Args:
        overrides: as on the command line.
    """
    pairs = [item.lstrip("+").split("._target_=", 1) for item in overrides if "._target_=" in item]
    own = {group for group, target in pairs if group in GIVEN and not is_ours(target)}
    is_open = ("extra_losses=", *(f"{group}." for group in {"env", "extra_losses", *own}))
    return [f"++{item}" if item.startswith(is_open) else item for item in overrides]


def compose(
    overrides: Sequence[str] = (),
    config_name: str = "config",
    *,
    hydra_settings: bool = False,
    sources: Sources = OURS,
) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: as on the command line, for example ``["env=tmaze/active", "seed=1"]``.
        config_name: a file at the top of conf/.
        hydra_settings: include Hydra's own, under ``hydra``.
        sources: where configurations come from.

    Returns:
        The composed configuration. Its ``imports`` are imported, and parts of one's own have only
        the settings that they take, see `amago_jax.runs.own_parts`.

    Raises:
        ConfigError: if a choice or a key does not exist, or an override is malformed.
    """
    overrides = as_list(overrides)
    offer_environments(overrides, sources)
    config = _composed(overrides, config_name, hydra_settings, sources)
    import_modules(config.get("imports", ()))
    return fitted(config, overrides, CONF_DIR)


def as_list(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a list.

    Raises:
        ConfigError: if they are no list, or not of text.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={overrides!r} must be a list, as in [{overrides!r}]")
    if not isinstance(overrides, Iterable):
        raise ConfigError(f"overrides={overrides!r} must be a list, as in ['seed=1']")
    listed = list(overrides)
    for item in listed:
        if not isinstance(item, str):
            raise ConfigError(f"overrides={listed!r}: {item!r} must be text, as in 'seed=1'")
    return listed


def _composed(
    overrides: Sequence[str], config_name: str, hydra_settings: bool, sources: Sources
) -> DictConfig:
    with _searching(sources):
        try:
            if sources == OURS and not hydra_settings:
                return compose_sooner(config_name, open_settings(overrides), CONF_DIR)
            return hydra_compose(
                config_name,
                overrides=open_settings(overrides),
                return_hydra_config=hydra_settings,
            )
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            try:
                defaults = hydra_compose(config_name)
            except (HydraException, OmegaConfBaseException):  # a broken file of the user's own
                defaults = OmegaConf.create()
            raise ConfigError(explain(error, overrides, defaults, sources)) from error


def compose_in(run_dir: str | Path | None, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration, for a folder if one is given."""
    config = compose(overrides)
    if run_dir is not None:
        config.run_dir = str(run_dir)
    return config


def parse_overrides(overrides: Sequence[str], sources: Sources = OURS) -> list[Override]:
    """Parse overrides by Hydra's grammar.

    Args:
        overrides: as on the command line.
        sources: what ``glob(*)`` looks for choices in.

    Raises:
        ConfigError: if one is malformed.
    """
    with _searching(sources):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        try:
            return parser.parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(f"{' '.join(overrides)}: {first_line(error)}") from error


def modules_named(item: str) -> list[str]:
    """Return the modules of an override ``imports=[...]``.

    Raises:
        ConfigError: if it is malformed.
    """
    (parsed,) = parse_overrides([item])
    found = parsed.value()
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ConfigError(f"{item} must list modules, as in imports=[my_package]")
    return [str(name) for name in found]


@contextlib.contextmanager
def _searching(sources: Sources) -> Iterator[None]:
    """Let Hydra compose from some sources, in the order in which its command line does."""
    with _no_command(), initialize_config_dir(str(CONF_DIR.resolve()), version_base="1.3"):
        if sources != OURS:
            path = create_config_search_path(sources.main or str(CONF_DIR.resolve()))
            if sources.added is not None:
                anchor = SearchPathQuery(provider="schema")
                path.prepend("command-line", f"file://{sources.added}", anchor)
            GlobalHydra.instance().clear()  # what was there is put back at the end
            Hydra.create_main_hydra2("app", path)
        yield


@contextlib.contextmanager
def _no_command() -> Iterator[None]:
    """Let Hydra begin anew, inside a command of its own."""
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before


def explain(
    error: Exception, overrides: Sequence[str], defaults: DictConfig, sources: Sources = OURS
) -> str:
    """Say what is wrong with overrides in one sentence, with the nearest that would work.

    Args:
        error: what Hydra or OmegaConf raised.
        overrides: as on the command line.
        defaults: what they override.
        sources: where that comes from.
    """
    if isinstance(error, OverrideParseException):
        return f"{error.override} is malformed: {first_line(error)}"
    tree: Any = OmegaConf.to_container(defaults, resolve=False)
    known = sorted(_keys(tree))
    groups = {key for key, value in tree.items() if isinstance(value, dict)}
    groups |= {path.name for folder in sources.folders for path in folder.glob("*/")}
    text = f"{error} {error.__cause__ or ''}"
    plugin = re.search(r"hydra/(?:launcher|sweeper)/(\w+)", text)
    if plugin is not None and plugin[1] in EXTRAS:
        return f"{plugin[0]} is not installed: {how_to_install(EXTRAS[plugin[1]])}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if type(error) is ValueError and value == "null":
            # Hydra overrides what a file overrides already, or a list, with a name only.
            instead = "logger=default" if key == "logger" else f"~{key}"
            return f"{override} does not leave out {key} here; write '{instead}'"
        for name in value.strip("[]").split(","):
            if key in groups and name and f"{key}/{name}" in text:
                many = MANY_ENVS if key == "env" else ""
                offered = list(choices(key, sources))
                if name not in offered:  # else something is wrong inside of it
                    return f"{key}={name} does not exist{_suggest(name, offered, many)}"
        group, _, setting = key.partition(".")
        choice = _choice_of(group, overrides) if setting.isidentifier() else None
        if choice and f"Could not override '{key}'" in text:
            files = [folder / group / f"{choice}.yaml" for folder in sources.folders]
            taken = sorted(settings_in(filter(Path.is_file, files)))
            suggestion = _suggest(setting, taken) if taken else ""
            return f"{group}={choice} has no setting {setting!r}{suggestion}"
        if key not in groups and key not in known and key in text and override[0] not in "+~":
            return f"there is no setting {key!r}{_suggest(key, known)}"
        if f"Could not override '{key}'" in text:
            return f"what is chosen for {group} has no setting {setting!r}; --cfg job shows it"
        if f"Ambiguous value for argument '{override}'" in text:
            is_list = OmegaConf.is_list(OmegaConf.select(defaults, key))
            instead = f", for a list write {key}=[{value}]" if is_list else ""
            return f"{override} has several values: to run with each add --multirun{instead}"
    return first_line(error)


def _choice_of(group: str, overrides: Sequence[str]) -> str | None:
    """Return what overrides choose of a group; None if they do not."""
    chosen = [item.partition("=")[2] for item in overrides if item.startswith(f"{group}=")]
    return chosen[-1].strip("'\"") if chosen else None


def choices(group: str, sources: Sources = OURS) -> Iterator[str]:
    """Yield the names that ``group=`` takes, for example "gymnax/CartPole-v1" for "env".

    Without other packages' suites, see `offer_environments`.
    """
    folders = [folder / group for folder in sources.folders]
    found = {
        path.relative_to(folder).with_suffix("").as_posix()
        for folder in folders
        for path in folder.rglob("*.yaml")
    }
    if group == "env":
        found |= set(envs.list_ids(suites=False))
    yield from sorted(found)


def _suggest(name: str, known: list[str], many: str = "") -> str:
    """Say which names are near, else all there are, or where they are many, what to do."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    ends = [other for other in known if other.rpartition(".")[2] == name]
    near = list(dict.fromkeys([*ends, *close]))
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; {many or 'choose from ' + ', '.join(known)}"


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if key in ("hydra", "_target_"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
