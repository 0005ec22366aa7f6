"""The persistent compilation cache: what was compiled once is read by every later process.

JAX keeps it; here it gets its place, its bound, and a repair of what a killed process left behind.
"""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import filelock
import jax
from jax.experimental.compilation_cache import compilation_cache

from amago_jax.settings import Name, Positive, check

DEFAULT = "default"
SETTINGS: dict[str, Any] = {"folder": Name | None, "max_gigabytes": Positive}
LOCK_SECONDS = 10
# Names of JAX's own files: an entry counts from when the time of its last use is written.
LOCK, ENTRY, LAST_USE = ".lockfile", "-cache", "-atime"

_chosen: tuple[Path | None, float] = (None, 0.0)  # where, and how many gigabytes


def use_compilation_cache(folder: str | None = DEFAULT, max_gigabytes: float = 2.0) -> Path | None:
    """Keep compiled programs on disk, unless JAX is told already where to.

    Processes may share a folder: entries are read and written under a lock.

    Args:
        folder: where; "default": ``amago_jax`` in the user's cache folder; None: nowhere.
        max_gigabytes: the entries used longest ago go beyond that.

    Returns:
        The folder in use; None if there is none.

    Raises:
        ConfigError: if a setting is not what it must be.
    """
    for name, value in (("folder", folder), ("max_gigabytes", max_gigabytes)):
        check(f"compilation_cache.{name}", value, SETTINGS[name])
    global _chosen
    given = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if given is not None and Path(given) != _chosen[0]:
        return Path(given)  # by JAX_COMPILATION_CACHE_DIR, or in Python
    path = None if folder is None else _place(folder)
    if (path, max_gigabytes) == _chosen:
        return path
    if path is not None and not _prepare(path):
        path = None
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", None if path is None else str(path))
    jax.config.update("jax_compilation_cache_max_size", int(max_gigabytes * 1e9))
    # Small programs are many, and together they take seconds to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _chosen = (path, max_gigabytes)
    return path


def _place(folder: str) -> Path:
    """Return the folder for this kind of processor, whose instructions programs may rely on."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = Path(caches, "amago_jax") if folder == DEFAULT else Path(folder)
    # `Path.expanduser` fails where there is no home; this leaves "~", a folder like any other.
    return Path(os.path.expanduser(root)).absolute() / _processor()


def _processor() -> str:
    """Name the processor by a few letters of a hash of what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    can = next((line for line in lines if line.startswith(("flags", "Features"))), "unknown")
    return "cpu-" + hashlib.sha256(can.encode()).hexdigest()[:12]


def _prepare(path: Path) -> bool:
    """Make the folder, and remove entries that a killed process did not finish."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path / LOCK, timeout=LOCK_SECONDS):
            for own, other in ((ENTRY, LAST_USE), (LAST_USE, ENTRY)):
                for file in path.glob(f"*{own}"):
                    if not file.with_name(file.name.removesuffix(own) + other).exists():
                        file.unlink()
    except (OSError, filelock.Timeout) as error:
        warnings.warn(
            f"compiled programs are not kept, for compilation_cache.folder={path} cannot be used "
            f"({error}); choose another folder, or null for none",
            stacklevel=2,
        )
        return False
    return True
