"""The page that lists every setting, docs/settings.md: python -m amago_jax.runs.reference > ...

What a setting may be comes from the schema, its default from conf/, and what it is from the
docstring of its part or from the comment in conf/. Each is written there alone.
"""

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from omegaconf import OmegaConf

from amago_jax import envs
from amago_jax.runs.config import CONF_DIR
from amago_jax.runs.named_parts import find_part
from amago_jax.runs.schema import GIVEN, RUN, TABLES
from amago_jax.settings import REQUIRED, Setting, kind_of, signature_of

COMMANDS = [name for name in TABLES if name != "config"]
OPENING = """# Settings

Every setting, what it may be, its default and what it is. `make settings` writes this page from
what the code checks. A value that is none of these ends in one sentence before anything is built,
whether it comes from the command line, a sweep, a grid, a saved run or Python; so does a name that
does not exist. Numbers are held against float32 and int32, in which JAX computes: 1e39 is as
infinite there as 1e400, and 0.999999999 is 1. What settings come to together, such as a buffer
shorter than a window, is found where they meet, before anything compiles. A part of your own, named
by `_target_`, is checked by its annotations in the same way.
"""


def page() -> str:
    """Return the page, Markdown."""
    parts = [OPENING, "## Of every run", _table(_of_table("config", [Path("config.yaml")]))]
    for group, given in GIVEN.items():
        if group != "env":
            parts += [f"## {group}", *_of_group(group, given)]
    parts += ["## logger", *_loggers(), "## env", *_environments()]
    for name in COMMANDS:
        parts += [f"## scripts/{name}.py", _of_command(name)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _of_table(name: str, files: list[Path]) -> Iterable[tuple[str, Any, Any, str]]:
    """Yield the settings of a table: name, annotation, default, what it is."""
    sections = [Path(section, "default.yaml") for section in ("logger", "compilation_cache")]
    defaults: dict[str, Any] = {}
    comments: dict[str, str] = {}
    for path in [*files, *sections]:
        prefix = f"{path.parent}." if path.parent.name else ""
        values, said = _read(path)
        defaults |= {f"{prefix}{key}": value for key, value in values.items()}
        comments |= {f"{prefix}{key}": text for key, text in said.items()}
    for key, annotation in TABLES[name].items():
        yield key, annotation, defaults.get(key, REQUIRED), comments.get(key, "")


def _of_command(name: str) -> str:
    """Return the table of what a command takes besides what every run does."""
    ours = TABLES["config"] if RUN.keys() <= TABLES[name].keys() else ()
    rows = [
        row
        for row in _of_table(name, [Path(f"{name}.yaml")])
        if row[0] not in ours and not row[0].startswith("compilation_cache.")
    ]
    return _table(rows)


def _of_group(group: str, given: tuple[str, ...]) -> Iterable[str]:
    """Yield a heading and a table for each part of a group."""
    choices: dict[str, dict[str, tuple[dict[str, Any], dict[str, str]]]] = {}
    for path in sorted((CONF_DIR / group).glob("*.yaml")):
        values, comments = _read(Path(group, path.name))
        choices.setdefault(values.pop("_target_"), {})[path.stem] = values, comments
    for target, found in choices.items():
        (first, (defaults, comments)), *others = found.items()
        settings = signature_of(find_part(group, target)).settings
        yield f"### {group}={first}" + "".join(f", {name}" for name, _ in others)
        yield _table(
            (
                f"{group}.{name}",
                one.annotation,
                defaults.get(name, one.default),
                _said(name, one, comments),
            )
            for name, one in settings.items()
            if name not in given
        )
        differing = [
            f"`{name}`: "
            + ", ".join(
                f"{key}={_shown(value)}"
                for key, value in values.items()
                if defaults.get(key, REQUIRED) != value
            )
            for name, (values, _) in others
        ]
        if differing:
            yield f"Defaults are those of `{first}`; {'; '.join(differing)}."


def _loggers() -> Iterable[str]:
    """Yield a table for each logger, see `amago_jax.runs.logging`."""
    yield "Of loggers, chosen as in `logger=wandb`, and described in [loggers.md](loggers.md)."
    for path in sorted((CONF_DIR / "logger").glob("*.yaml")):
        name, (values, comments) = path.stem, _read(Path("logger", path.name))
        if not values:
            continue
        settings = signature_of(find_part(f"logger.{name}", values[f"{name}._target_"])).settings
        yield f"### logger={name}"
        yield _table(
            (
                f"logger.{name}.{key}",
                one.annotation,
                values.get(f"{name}.{key}", one.default),
                comments.get(f"{name}.{key}", ""),
            )
            for key, one in settings.items()
        )


def _environments() -> Iterable[str]:
    """Yield tables of the environments that need no extra of the package."""
    yield (
        "Of environments that come with the package alone; others, and what all of them are, in "
        "[environments.md](environments.md)."
    )
    named = {
        "popgym/<task>": "popgym/RepeatPreviousEasy",
        "gymnax/<id>": "gymnax/CartPole-v1",
    }
    ours = ["goals/maze_runner", "goals/package_delivery", "meta/dark_key_door"]
    ours += ["meta/frozen_lake", "meta/gymnax", "meta/wind", "tmaze/passive", "tmaze/active"]
    for title, env_id in [*((one, one) for one in ours), *named.items()]:
        path = Path("env", f"{env_id}.yaml")
        defaults: dict[str, Any] = {}
        if (CONF_DIR / path).exists() and title == env_id:
            values, _ = _read(path)
            defaults = {key.removeprefix("env."): value for key, value in values.items()}
        yield f"### env={title}"
        yield _table(
            (f"env.{name}", one.annotation, defaults.get(name, one.default), _said(name, one, {}))
            for name, one in envs.signature(env_id).settings.items()
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a file of conf/ and its comments, by dotted name."""
    loaded: Any = OmegaConf.to_container(OmegaConf.load(CONF_DIR / path), resolve=False)
    values: dict[str, Any] = {}
    comments: dict[str, str] = {}
    for other in loaded.pop("defaults", []):
        if isinstance(other, str) and other != "_self_" and path.parent.name:
            values, comments = _read(path.with_name(f"{other}.yaml"))
    return values | dict(_flat(loaded)), comments | _comments((CONF_DIR / path).read_text())


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")


def _comments(text: str) -> dict[str, str]:
    """Return what stands behind the lines of a file, by dotted name."""
    found, above = {}, {0: ""}
    for line in text.splitlines():
        match = re.match(r"( *)([\w-]+):[^#]*(?:#\s*(.*))?$", line)
        if match is not None:
            depth, key = len(match[1]), f"{above.get(len(match[1]), '')}{match[2]}"
            above[depth + 2] = f"{key}."
            if match[3]:
                found[key] = match[3]
    return found


def _said(name: str, setting: Setting, comments: Mapping[str, str]) -> str:
    """Say what a setting is, as the docstring that describes it does, or else a comment."""
    for part in _describing(setting.part):
        text = _described(inspect.getdoc(inspect.unwrap(part)) or "").get(name, "")
        if text and not text.startswith("see "):
            return text.removesuffix(".").replace("``", "`").replace("None", "null")
    return comments.get(name, "")


def _describing(part: Any) -> Iterable[Any]:
    """Yield what may describe a part's settings: a function, what it makes, or classes."""
    if not isinstance(part, type):
        yield part
        made = inspect.get_annotations(inspect.unwrap(part)).get("return")
        part = next((one for one in (made, *get_args(made)) if isinstance(one, type)), object)
    yield from part.__mro__


def _described(doc: str) -> dict[str, str]:
    """Return what a docstring says of arguments or attributes, by name."""
    section = re.search(r"^(?:Args|Attributes):\n((?:(?: {4}.*)?\n?)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _table(rows: Iterable[tuple[str, Any, Any, str]]) -> str:
    lines = [
        f"| `{name}` | {_kind(annotation)} | {_default(default)} | {_prose(text)} |"
        for name, annotation, default, text in rows
    ]
    if not lines:
        return "No settings."
    return "\n".join(["| setting | may be | default | what it is |", "| --- " * 4 + "|", *lines])


def _prose(text: str) -> str:
    """Return text for a cell of a table; what is not between backticks is no markup."""
    parts = text.replace("|", "/").split("`")
    for number, part in enumerate(parts[::2]):
        parts[2 * number] = re.sub(r"(\*|\b_|_\b)", r"\\\1", part).replace("<", "&lt;")
    return "`".join(parts)


def _kind(annotation: Any) -> str:
    kind = kind_of(annotation)
    return "anything" if kind is None else kind.words()


def _default(default: Any) -> str:
    return "" if default is REQUIRED else f"`{_shown(default)}`"


def _shown(value: Any) -> str:
    """Return a value as configurations write it."""
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_shown(one)}' for key, one in value.items())}}}"
    return str(value)


if __name__ == "__main__":
    print(page(), end="")
