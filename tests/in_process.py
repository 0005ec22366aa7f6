"""Scripts as a user starts them, but in this process: another one takes seconds to start."""

import contextlib
import io
import runpy
import subprocess
from pathlib import Path
from unittest import mock

from hydra.core.hydra_config import HydraConfig

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run_script(name, *arguments):
    """Return what `subprocess.run` of ``scripts/<name>.py`` would: exit code and output.

    What a user would see as a traceback is raised here.
    """
    path, out, errors = str(SCRIPTS / f"{name}.py"), io.StringIO(), io.StringIO()
    code = None
    with (
        mock.patch("sys.argv", [path, *arguments]),
        mock.patch.object(HydraConfig.instance(), "cfg", None),  # which Hydra leaves as it was set
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as left:
            code = left.code
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), errors.getvalue())
