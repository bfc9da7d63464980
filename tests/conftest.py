import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# `python -m pytest` puts the repository's root on sys.path. Unless the core was built in place, the
# source tree would shadow the installed package, whose core is what is to be tested.
ROOT = Path(__file__).resolve().parents[1]
if not any((ROOT / "pycnn").glob("_native*.[sp][oy]*")):
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]

PURE = os.environ.get("PYCNN_NO_EXTENSION", "") not in ("", "0")
if PURE:  # the fallback is meant: no warning
    os.environ.setdefault("PYCNN_BACKEND", "numpy")


# A shell that starts the tests in the background has Ctrl-C ignored, and Python would keep to that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def pure():
    """Whether the package under test was built without its core, on purpose."""
    return PURE


@pytest.fixture(params=["c", "numpy"])
def backend(request):
    """Each behaviour holds on both backends; a core that is missing by accident fails."""
    if request.param == "c" and PURE:
        pytest.skip("PYCNN_NO_EXTENSION: the package has no compiled core")
    return request.param


@pytest.fixture
def core():
    """Needs the compiled core, to compare it with the fallback."""
    if PURE:
        pytest.skip("PYCNN_NO_EXTENSION: the package has no compiled core")


@pytest.fixture
def run_python(tmp_path):
    """Run code in a fresh interpreter that imports the same pycnn; return what it prints."""
    import pycnn

    def run(code, *options, **environment):
        hidden = {"PYCNN_BACKEND", "PYCNN_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONWARNINGS"}
        env = {k: v for k, v in os.environ.items() if k not in hidden}
        env["PYTHONPATH"] = str(Path(pycnn.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, *options, "-c", code],
            env=env | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout if "-X" not in options else done.stderr

    return run
