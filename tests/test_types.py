"""The type hints, as a user's type checker reads them."""

import importlib
import importlib.util
import inspect
import re
import shutil
import sys
import warnings
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

import pycnn

PROGRAM = Path(__file__).with_name("typed_program.py")


# What is Any satisfies whatever it is taken for, so each call's type is asked for.
SEAM = """
from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from pycnn._model import Model
from pycnn.backend import load
from pycnn.backend.interface import Data, Plan, Totals, TrainingState
from pycnn.backend.protocol import Backend


def calls(model: Model, data: Data, state: TrainingState, x: NDArray[np.float64]) -> None:
    core, plan, theta = model.core, model.plan, model.theta
    assert_type(load("c"), Backend)
    assert_type(core, Backend)
    assert_type(plan, Plan)
    assert_type(theta, NDArray[np.float64])
    assert_type(core.isa(), str)
    assert_type(core.threads(), int)
    assert_type(core.create_plan(model.architecture.specs, "mse"), Plan)
    assert_type(core.find_not_finite(x), int)
    assert_type(core.predict(plan, theta, x, x), bool)
    assert_type(core.predictor(plan, theta, 1, (1,))(x), NDArray[np.float64])
    assert_type(core.penalty(plan, theta), float)
    assert_type(core.evaluate(plan, theta, data), Totals)
    assert_type(core.gradients(plan, theta, data, x), Totals)
    assert_type(core.gradient_sums(plan, theta, data, x), Totals)
    core.update(plan, theta, x, 1.0, state)
    assert_type(core.trace(plan, theta, data, x, x, x, x).loss, float)
    assert_type(core.train(plan, theta, data, state, 1), int)
"""


@pytest.mark.parametrize("source", [SEAM, PROGRAM.read_text("utf-8")], ids=["seam", "program"])
def test_what_is_called_has_the_types_that_it_says(pytestconfig, tmp_path, source):
    api = pytest.importorskip("mypy.api")
    cache = f"--cache-dir={pytestconfig.cache.mkdir('mypy')}"
    options = ["--strict", "--no-error-summary", "--python-executable", sys.executable, cache]
    program = tmp_path / "program.py"
    program.write_text(source, encoding="utf-8")
    found, errors, status = api.run([*options, str(program)])
    assert (found, errors, status) == ("", "", 0)


def test_a_users_program_has_every_public_class():
    package = Path(pycnn.__file__).parent
    names = {path.stem for path in package.glob("[a-z]*.py")} | {"datasets", "layers"}
    modules = [importlib.import_module(f"pycnn.{name}") for name in names - {"exceptions"}]
    classes = {
        name
        for module in modules
        for name in module.__all__
        if inspect.isclass(getattr(module, name))
    }
    words = set(re.findall(r"\w+", PROGRAM.read_text(encoding="utf-8")))
    assert len(classes) > 40
    assert classes <= words


def test_a_users_program_runs(backend, tmp_path):
    spec = importlib.util.spec_from_file_location("typed_program", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pycnn.exceptions.DataWarning)
        program.main(backend, str(tmp_path))


def test_what_freezes_a_program_sees_every_module_that_a_training_needs(tmp_path):
    """As PyInstaller does, which reads import statements: a name in a string it would miss."""
    shutil.copytree(Path(pycnn.__file__).parent, tmp_path / "pycnn")  # with no other package beside
    finder = ModuleFinder([str(tmp_path)])
    finder.import_hook("pycnn")
    needed = {
        "pycnn.network",
        "pycnn._io.model_file",
        "pycnn._html",
        "pycnn._plot",
        "pycnn.backend.numpy",
    }
    if importlib.util.find_spec("pycnn._native") is not None:
        needed |= {"pycnn.backend.c", "pycnn._native"}
        assert "_cffi_backend" in finder.modules.keys() | finder.badmodules.keys()
    assert needed <= finder.modules.keys()


PUBLIC = sorted(path.stem for path in Path(pycnn.__file__).parent.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", [*PUBLIC, "datasets"])
def test_tab_completion_shows_what_a_module_has_to_offer_and_not_what_it_imports(name):
    module = importlib.import_module(f"pycnn.{name}")
    assert [item for item in dir(module) if not item.startswith("__")] == sorted(module.__all__)
    assert {"__doc__", "__name__"} <= set(dir(module))
    for item in module.__all__:
        assert getattr(module, item) is not None


def test_tab_completion_of_the_package_shows_its_public_names():
    assert {item for item in dir(pycnn) if not item.startswith("__")} == set(pycnn.__all__) - {
        "__version__"
    }
