"""What is tested is what was built: the compiled core, its twin, and what an import costs."""

import hashlib
import inspect
import os
import re
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import _threads
from pycnn import backend as backends
from pycnn.exceptions import UnknownNameError

ROOT = Path(__file__).resolve().parents[1]


def test_the_compiled_core_is_what_runs_unless_the_package_is_pure(pure, monkeypatch):
    if not pure:
        monkeypatch.delenv("PYCNN_BACKEND", raising=False)
    config = pycnn.config()
    assert config["backend"] == ("numpy" if pure else "c")
    assert set(config) == {"version", "backend", "isa", "threads", "compiler"}
    assert config["threads"] >= 1
    assert (config["isa"] == "numpy") == pure
    assert config["compiler"]


def test_the_core_has_the_version_of_the_package(core):
    from pycnn._native import ffi, lib

    assert ffi.string(lib.pycnn_version()).decode() == pycnn.__version__


def test_the_package_under_test_has_its_core_beside_it(core):
    package = Path(pycnn.__file__).parent
    assert any(package.glob("_native*.[sp][oy]*")), f"{package} has no compiled core"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name their symbols otherwise")
@pytest.mark.skipif("PYCNN_CFLAGS" in os.environ, reason="built for a debugger")
def test_the_core_is_stripped_of_what_only_a_debugger_reads(core):
    from pycnn import _native

    assert b".symtab\0" not in Path(_native.__file__).read_bytes()


def test_show_config_prints_every_entry_of_config(capsys):
    pycnn.show_config()
    shown = capsys.readouterr().out
    for key, value in pycnn.config().items():
        assert re.search(rf"^{key} +{re.escape(str(value))}$", shown, re.M)


def test_both_backends_export_the_same_names_and_signatures(core):
    c, numpy = (backends.load(name) for name in ("c", "numpy"))
    assert c.__all__ == numpy.__all__
    for name in c.__all__:
        parameters = [inspect.signature(getattr(m, name)).parameters for m in (c, numpy)]
        assert list(parameters[0]) == list(parameters[1]), name
        assert [p.kind for p in parameters[0].values()] == [p.kind for p in parameters[1].values()]


def test_every_public_name_is_there_and_documented():
    for module in (pycnn, pycnn.exceptions, pycnn.layers, pycnn.initializers, pycnn.optimizers):
        for name in module.__all__:
            assert hasattr(module, name)
            if name != "__version__":
                assert inspect.getdoc(getattr(module, name)), name


def test_the_binding_is_declared_by_the_header_alone(core):
    header, builder = ROOT / "csrc" / "pycnn.h", ROOT / "build_ffi.py"
    if not (header.exists() and builder.exists()):
        pytest.skip("no source tree beside the tests")
    from pycnn._native import lib

    text = header.read_text(encoding="utf-8")
    declared = text.split("/* cdef: begin */")[1].split("/* cdef: end */")[0]
    declared = re.sub(r"/\*.*?\*/", "", declared, flags=re.S)
    functions = set(re.findall(r"\b(pycnn_\w+)\(", declared))
    constants = {name: int(n) for name, n in re.findall(r"\b(PYCNN_\w+) = (\d+)", declared)}
    assert functions
    functions -= {"pycnn_allocate_function", "pycnn_release_function"}  # types
    for name in ("loss", "poll"):  # a type, and Python's function of it
        functions ^= {f"pycnn_{name}_function", f"pycnn_call_{name}"}
    functions.add("pycnn_call_train_batch")  # the builder's own
    assert functions | set(constants) == set(dir(lib))
    assert {name: getattr(lib, name) for name in constants} == constants
    source = builder.read_text(encoding="utf-8")
    assert "cdef: begin" in source
    before, _, behind = source.partition("BATCH_CALL =")
    behind = behind.partition("ffi.set_source")[2]
    assert "double *" not in before + behind  # no second copy of a prototype
    assert f'PYCNN_VERSION "{pycnn.__version__}"' in text
    assert f"version: '{pycnn.__version__}'," in (ROOT / "meson.build").read_text("utf-8")


def test_import_loads_nothing_heavy(run_python):
    report = run_python("import pycnn", "-X", "importtime")
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    assert "pycnn" in loaded
    heavy = {"pandas", "matplotlib", "tqdm", "sklearn", "click", "scipy"}
    assert not loaded & (heavy | {"threadpoolctl"})


def test_import_brings_no_module_of_pythons_on_top_of_numpys(run_python):
    code = """if True:
        import sys, numpy
        before = set(sys.modules)
        import pycnn
        print(*{name.partition(".")[0] for name in set(sys.modules) - before})
    """
    # Small ones, which older NumPys do not bring: contextlib and the like have long been there.
    allowed = {"pycnn", "__future__", "datetime", "_datetime", "warnings", "types"}
    assert set(run_python(code).split()) <= allowed


LATE = """
import importlib, sys

def again():
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycnn"]:
        del sys.modules[name]
    return importlib.import_module("pycnn")

for name in ("augmentation", "datasets", "metrics", "Table", "text"):
    pycnn = again()
    assert name not in vars(pycnn)
    assert name in dir(pycnn)
    assert hasattr(pycnn, name)
    again()
    exec(f"from pycnn import {name} as found")
    assert found.__name__ in (f"pycnn.{name}", "Table")
assert not hasattr(again(), "Tabel")
"""


def test_what_is_imported_when_it_is_asked_for_is_there(run_python):
    run_python(LATE)


PROGRAM = (Path(__file__).parent / "whole_program.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("options", ["-OO -W error", "-I -W error"])
def test_a_program_does_the_same_under_pythons_options(run_python, options):
    folder = os.fspath(Path(pycnn.__file__).parents[1])  # -I looks at no variable
    code = f"import sys; sys.path.insert(0, {folder!r})\n{PROGRAM}"
    assert run_python(code, *options.split()) == run_python(PROGRAM)


def test_a_zip_of_the_package_does_what_python_alone_can(run_python, tmp_path):
    package = Path(pycnn.__file__).parent
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        for path in package.rglob("*"):
            if path.suffix in (".py", ".npz", ".txt"):
                archive.write(path, path.relative_to(package.parent))
    code = "import sys; sys.path.insert(0, 'app.pyz'); sys.modules['pycnn._native'] = None\n"
    _, in_python = run_python(PROGRAM).splitlines()
    assert run_python(code + PROGRAM).splitlines() == ["c is not there", in_python]


def test_import_starts_no_thread_and_leaves_numpys_random_state_alone(run_python):
    code = (
        "import threading, numpy as np; np.random.seed(1)\n"
        "before = np.random.get_state()[1].tolist()\n"
        "import pycnn; pycnn.Network(2, [pycnn.Dense(1)]).fit([[1, 2]], [1], epochs=1)\n"
        "print(threading.active_count(), before == np.random.get_state()[1].tolist())"
    )
    assert run_python(code).split() == ["1", "True"]


SHOW = "import pycnn; print(pycnn.config()['backend'], pycnn.Network(1, [pycnn.Dense(1)]).backend)"
BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "pycnn._native":
            raise ModuleNotFoundError("blocked", name=name)
sys.meta_path.insert(0, Blocker())
import warnings
import pycnn
from pycnn import Dense, Network
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {body}
"""


def test_pycnn_backend_chooses_the_backend(run_python, backend):
    assert run_python(SHOW, PYCNN_BACKEND=backend).split() == [backend, backend]


def test_an_unknown_pycnn_backend_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv("PYCNN_BACKEND", "nunpy")
    with pytest.raises(UnknownNameError, match=r"PYCNN_BACKEND.*'nunpy'.*did you mean 'numpy'"):
        pycnn.config()


def test_pycnn_isa_chooses_the_instruction_set(core, run_python):
    code = "import pycnn; print(pycnn.config()['isa'])"
    isa = run_python(code).strip()
    assert isa in ("avx512", "avx2", "neon", "baseline")
    for name in (isa, "baseline"):
        assert run_python(code, PYCNN_ISA=name).strip() == name


def test_an_unknown_instruction_set_is_named_in_the_error(core, run_python):
    code = (
        "import pycnn\n"
        "try: pycnn.Network(1, [pycnn.Dense(1)])\n"
        "except pycnn.exceptions.BackendError as error: print(error)"
    )
    assert "got 'sse9'" in run_python(code, PYCNN_ISA="sse9")


def test_a_missing_core_warns_exactly_once_and_falls_back(run_python):
    body = (
        "nets = [Network(1, [Dense(1)]) for _ in range(3)]; pycnn.config()\n"
        "    print(len(caught), nets[0].backend, caught[0].category.__name__)\n"
        "    print(caught[0].message)"
    )
    first, message = run_python(BLOCK.format(body=body)).splitlines()
    assert first.split() == ["1", "numpy", "RuntimeWarning"]
    assert "PYCNN_BACKEND=numpy" in message


def test_a_missing_core_is_an_error_where_it_was_asked_for(run_python):
    body = (
        "try: Network(1, [Dense(1)], backend='c')\n"
        "    except pycnn.exceptions.BackendError as error:\n"
        "        print(isinstance(error, ImportError), len(caught))"
    )
    assert run_python(BLOCK.format(body=body)).split() == ["True", "0"]


def test_a_missing_core_is_no_matter_where_the_fallback_was_chosen(run_python):
    body = "print(Network(1, [Dense(1)]).backend, len(caught))"
    assert run_python(BLOCK.format(body=body), PYCNN_BACKEND="numpy").split() == ["numpy", "0"]


@pytest.fixture
def threads_of(monkeypatch):
    """Return how many threads there are by these variables, as in a new process."""
    monkeypatch.setattr(_threads, "_limit", None)
    _threads._default.cache_clear()

    def count(environment):
        for name in ("PYCNN_NUM_THREADS", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return pycnn.get_num_threads()

    yield count
    _threads._default.cache_clear()


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"PYCNN_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"PYCNN_NUM_THREADS": "", "OMP_NUM_THREADS": "6"}, 6),
        ({"OMP_NUM_THREADS": "7,0"}, 7),
    ],
)
def test_the_environment_sets_the_number_of_threads(threads_of, environment, threads):
    assert threads_of(environment) == threads


def test_the_environment_of_a_new_process_sets_the_number_of_threads(run_python):
    code = "import pycnn; print(pycnn.get_num_threads())"
    assert int(run_python(code, PYCNN_NUM_THREADS="3", OMP_NUM_THREADS="5")) == 3


def test_the_default_number_of_threads_keeps_to_the_affinity_of_the_process(run_python):
    threads = int(run_python("import pycnn; print(pycnn.get_num_threads())"))
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= threads <= granted


def test_set_num_threads_is_what_get_num_threads_returns(monkeypatch, backend):
    monkeypatch.setattr("pycnn._threads._limit", None)
    monkeypatch.setenv("PYCNN_BACKEND", backend)
    pycnn.set_num_threads(7)
    assert pycnn.get_num_threads() == 7
    assert pycnn.config()["threads"] == (7 if backend == "c" else 1)  # NumPy's are its own


def test_load_digits_has_the_shapes_and_classes_it_promises():
    X, y = pycnn.datasets.load_digits()
    assert X.shape == (1797, 64)
    assert y.shape == (1797,)
    assert X.dtype == np.float64
    assert y.dtype == np.int64
    assert (X.min(), X.max()) == (0, 16)
    assert np.unique(y).tolist() == list(range(10))
    X[0, 0] = -1  # the caller's own copy
    assert pycnn.datasets.load_digits().X[0, 0] == 0


def test_the_digits_take_less_than_80_kilobytes():
    assert len(files("pycnn.datasets").joinpath("digits.npz").read_bytes()) < 80_000


def test_load_digits_equals_scikit_learns():
    X, y = pycnn.datasets.load_digits()
    content = X.astype(np.uint8).tobytes() + y.astype(np.uint8).tobytes()
    # of scikit-learn 1.9.1's load_digits(), data and target
    theirs = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    assert hashlib.sha256(content).hexdigest() == theirs


@pytest.mark.parametrize("value", ["0", "-1", "two", "²", "9" * 20])
def test_a_number_of_threads_that_is_none_is_refused(threads_of, value):
    with pytest.raises(pycnn.PycnnError, match="PYCNN_NUM_THREADS"):
        threads_of({"PYCNN_NUM_THREADS": value})


SKIPPING = """
import pytest

def test_that_something_is_missing():
    pytest.importorskip("no_such_module")

@pytest.mark.skipif(True, reason="permissions do not bind this user")
def test_that_nothing_can_mend():
    pass

@pytest.mark.xfail(reason="known")
def test_that_fails_as_expected():
    raise AssertionError
"""
SKIPPED_WHOLE = 'import pytest\n\npytest.importorskip("no_such_module")\n'


def test_a_skip_is_a_failure_where_nothing_may_be_missing(tmp_path):
    conftest = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_some.py").write_text(SKIPPING, encoding="utf-8")
    (tmp_path / "test_whole.py").write_text(SKIPPED_WHOLE, encoding="utf-8")

    def last_line(setting):
        options = [
            "-q",
            "-c",
            os.devnull,
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, tmp_path],
            env=os.environ | {"PYCNN_NO_SKIPS": setting, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout.splitlines()[-1]

    assert last_line("").startswith("3 skipped, 1 xfailed")
    assert last_line("1").startswith("1 failed, 1 skipped, 1 xfailed, 1 error")
