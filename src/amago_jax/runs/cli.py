"""What the scripts share: Hydra's command line with all errors found first and said plainly."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from unittest import mock

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from amago_jax import envs
from amago_jax.errors import (
    ConfigError,
    InterruptionError,
    UserError,
    config_errors,
    disk_reason,
    first_line,
    how_to_install,
)
from amago_jax.runs.building import build
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.config import (
    CONF_DIR,
    OURS,
    Sources,
    choices,
    compose,
    modules_named,
    offer_environments,
    open_settings,
)
from amago_jax.runs.flags import CommandLine, parse
from amago_jax.runs.hosts import join, leave, together
from amago_jax.runs.interruption import Asked
from amago_jax.runs.jobs import (
    FAILED,
    INTERRUPTED,
    Job,
    SweepTask,
    forget_jobs,
    read_jobs,
    summarize,
)
from amago_jax.runs.logging import build_loggers
from amago_jax.runs.members import count_members, is_side_by_side
from amago_jax.runs.memory import check_memory
from amago_jax.runs.outcome import check_metric, check_resumable
from amago_jax.runs.own_parts import fitted, search_in
from amago_jax.runs.processes import (
    give_platforms_back,
    leave_accelerators,
    passing_on,
    share_machine,
)
from amago_jax.runs.schema import check_settings
from amago_jax.runs.side_by_side import build_members
from amago_jax.runs.sweeps import Folders, Sweep, plain, plan

TRAINING, BUILDING = "config", ("config", "benchmark")  # primary configurations


def hydra_command(
    task: Callable[[DictConfig], object],
    config_name: str,
    check_run: Callable[[DictConfig], object] | None = None,
    resume: Callable[[str, Sequence[str], Sequence[str]], object] | None = None,
) -> None:
    """Run a script's task under Hydra, with the flags and overrides of the command line.

    Every run of a sweep is composed and checked before the first begins; of a sweeper that
    searches, runs that stand for all. What the user can mend ends in one sentence on standard
    error and exit code 1. A run of a sweep that fails does not keep the others from going on; the
    exit code is 1 in the end. With the override ``env=?``, all environments are listed instead.

    Args:
        task: called with the composed configuration.
        config_name: a file at the top of conf/.
        check_run: see `check`.
        resume: called instead with the folder of ``resume=...``, all other overrides, which are of
            the configuration that is saved there, and the modules of ``imports=[...]``.
    """
    if "env=?" in sys.argv[1:]:
        print(environments())
        return
    elsewhere = give_platforms_back()
    try:
        line = parse(sys.argv[1:], config_name)
        search_in([line.sources.added, Path.cwd()])
        if resume is not None and any(item.startswith("resume=") for item in line.overrides):
            _resume(line, resume)
            return
        sweep = _prepare(line, config_name, check_run, elsewhere)
    except (UserError, InterruptionError, OSError) as error:
        fail(_of_the_disk(error))
    overrides = line.overrides if sweep is None else sweep.overrides
    sys.argv[1:] = [*line.flags, *open_settings(overrides)]

    def alone(config: DictConfig) -> None:
        try:
            use_compilation_cache(**config.get("compilation_cache", {"folder": None}))
            with together():
                task(fitted(config, line.overrides, CONF_DIR))
        except (UserError, InterruptionError, OSError) as error:
            fail(_of_the_disk(error))

    main = hydra.main(
        version_base="1.3", config_path=str(CONF_DIR.resolve()), config_name=config_name
    )
    if sweep is None:
        main(alone)()
    else:
        try:
            _run_sweep(main(SweepTask(task, config_name == TRAINING, sweep.swept)), sweep)
        finally:
            Asked.to_end = False  # that was this sweep


def _resume(
    line: CommandLine, resume: Callable[[str, Sequence[str], Sequence[str]], object]
) -> None:
    """Go on with what a folder holds, without Hydra: all is configured but for a few overrides."""
    values = {item.partition("=")[0].lstrip("+~"): item for item in line.overrides}
    folder = values.pop("resume").partition("=")[2]
    imports = values.pop("imports", "imports=[]")
    if line.multirun or line.flags:
        raise ConfigError(f"resume={folder} goes on with one run, and takes no flags")
    if "run_dir" in values:
        raise ConfigError(
            f"{values['run_dir']} beside resume={folder}: a run goes on in its own folder; "
            "copy that to leave it as it is"
        )
    check_resumable(Path(folder))
    own = {name: item for name, item in values.items() if not name.startswith("distributed.")}
    with config_errors():
        join(compose([item for name, item in values.items() if name not in own]).distributed)
    with together():
        resume(folder, list(own.values()), modules_named(imports))


def _of_the_disk(error: UserError | InterruptionError | OSError) -> UserError | InterruptionError:
    """Return an error of the system's, of a file that cannot be read or written, as one of ours."""
    if not isinstance(error, OSError):
        return error
    if error.filename is None:  # nothing that a user could mend
        raise error
    return UserError(f"{error.filename}: {disk_reason(error)}")


def _prepare(
    line: CommandLine,
    config_name: str,
    check_run: Callable[[DictConfig], object] | None,
    elsewhere: bool,
) -> Sweep | None:
    """Find out what the command line asks for, and everything that is wrong with it.

    Args:
        line: the command line.
        config_name: the script's.
        check_run: see `check`.
        elsewhere: whether this process has left the devices that runs will have.

    Returns:
        The sweep, if it asks for one.
    """
    if not line.composes:
        return None
    offer_environments(line.overrides, line.sources)
    if not line.runs:
        compose(plain(line.overrides, line.sources), line.config_name, sources=line.sources)
        return None
    sweep = plan(line)
    if sweep is None:
        check([line.overrides], line.config_name, check_run, kind=config_name, sources=line.sources)
        return None
    if sweep.launcher != "basic":
        leave_accelerators()
        share_machine(sweep.processes)
    check(
        sweep.runs,
        line.config_name,
        check_run,
        kind=config_name,
        sources=line.sources,
        folders=Folders(sweep.swept) if config_name == TRAINING else None,
        elsewhere=elsewhere or sweep.launcher == "slurm",
    )
    return sweep


def _run_sweep(command: Callable[[], None], sweep: Sweep) -> None:
    """Run a sweep and say how it went; leave with exit code 1 if a run failed."""
    forget_jobs(sweep.folder)
    count = "a sweep that searches" if sweep.searches else f"a sweep of {len(sweep.runs)} runs"
    print(f"{count}; what belongs to all of it goes to {sweep.folder}", flush=True)
    code = 0
    try:
        # Told so, Hydra does not print errors in its own way, but lets them through.
        told = passing_on() if sweep.launcher == "joblib" else contextlib.nullcontext()
        with mock.patch.dict(os.environ, HYDRA_FULL_ERROR="1"), told:
            command()
        _raise_interruption(read_jobs(sweep.folder))
    except InterruptionError as error:
        print(f"{error}; the same command goes on with the sweep", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130  # as shells say it
    except Exception as error:
        jobs = read_jobs(sweep.folder)
        if Asked.to_end:  # before a process could listen
            print(f"asked to end: {first_line(error)}", file=sys.stderr)
            sys.exit(InterruptionError.exit_code)
        # A sweeper that searches knows no best run where none is complete; all is said without it.
        searched = sweep.searches and isinstance(error, ValueError)
        if not (searched and all(job.status == FAILED for job in jobs)):
            print(summarize(jobs, sweep.folder), flush=True)
            raise
    jobs = read_jobs(sweep.folder)
    print(summarize(jobs, sweep.folder), flush=True)
    code = code or int(any(job.status == FAILED for job in jobs))
    if code:
        sys.exit(code)


def _raise_interruption(jobs: Sequence[Job]) -> None:
    """Raise that runs were interrupted which, beside others, did not say so themselves."""
    found = [job for job in jobs if job.status == INTERRUPTED]
    if found:
        raise InterruptionError(f"{len(found)} of {len(jobs)} runs were asked to end and did")


def folders_given(arguments: Sequence[str]) -> list[str]:
    """Turn arguments that are folders into one override, ``folders=[...]``, and keep the others.

    Args:
        arguments: of the command line. One with "=" in it is a folder only if there is one.
    """
    words = get_args_parser().parse_intermixed_args(list(arguments)).overrides
    folders = [word for word in words if "=" not in word or Path(word).is_dir()]
    others = [argument for argument in arguments if argument not in folders]
    quoted = (folder.replace("\\", "\\\\").replace("'", "\\'") for folder in folders)
    listed = ",".join(f"'{folder}'" for folder in quoted)
    return [*others, f"folders=[{listed}]"] if folders else others


def environments() -> str:
    """List every environment, an id to a line, in groups; of a suite not installed, how to."""
    missing = [f"{suite}/... ({how_to_install(suite)})" for suite in envs.missing_suites()]
    ids = sorted({*envs.list_ids(), *choices("env"), *missing})
    groups = itertools.groupby(ids, key=lambda env_id: env_id.partition("/")[0])
    return "\n\n".join("\n".join(group) for _, group in groups)


def check(
    runs: Sequence[Sequence[str]],
    config_name: str,
    check_run: Callable[[DictConfig], object] | None = None,
    *,
    kind: str | None = None,
    sources: Sources = OURS,
    folders: Folders | None = None,
    elsewhere: bool = False,
) -> None:
    """Compose, and for a training build, every run, given by its overrides.

    Args:
        runs: overrides of each.
        config_name: the primary configuration.
        check_run: called with what was composed, instead of building it for the devices here.
        kind: the file at the top of conf/ that it stands for; None: it is that.
        sources: where configurations come from.
        folders: where a sweep's runs go; None: not checked.
        elsewhere: whether runs have other devices than those here, for which they are not built.

    Raises:
        ConfigError: naming the first thing wrong.
    """
    kind = kind or config_name
    for number, run in enumerate(runs):
        config = compose(run, config_name, sources=sources)
        check_settings(config, kind)
        if "distributed" in config:
            join(config.distributed)
        if check_run is not None:
            check_run(config)
        elif kind in BUILDING:
            if kind == TRAINING:
                build_loggers(config)
            wanted = _anywhere(config) if elsewhere else config
            several = is_side_by_side(config)
            trainer = build_members(wanted)[0][0] if several else build(wanted)
            if not elsewhere:
                seeds = count_members(config) if several else 1
                check_memory(trainer, seeds, in_lanes=config.get("lanes") is not None)
            if kind == TRAINING and number == 0:
                check_metric(config, trainer)
            if folders is not None:
                folders.claim(run, config, trainer)


def _anywhere(config: DictConfig) -> DictConfig:
    """Return a configuration without what only the device that runs it can grant."""
    free = config.copy()
    free.devices, free.attention = None, "auto"
    return free


def fail(error: UserError | InterruptionError) -> NoReturn:
    """Print one sentence and leave with its exit code."""
    print(f"error: {error}", file=sys.stderr)
    leave(error.exit_code)
