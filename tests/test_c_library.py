"""The core as others compile it: one file and its header, as they lie in the installed package."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from fnmatch import filter as matching
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

import pycnn

SOURCE = Path(pycnn.get_include(), "pycnn.c")
HASH_RUN = Path(__file__).parent / "c" / "hash_run.c"
PLUGIN = '#include "pycnn.h"\nconst char *version_of_{0}(void) {{ return pycnn_version(); }}\n'
BOTH = """
#include <stdio.h>
const char *version_of_first(void), *version_of_second(void);
int main(void) { printf("%s %s\\n", version_of_first(), version_of_second()); }
"""
ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "c" / "digits.cpp"

COMPILERS = ["cc", *(name for name in ("gcc", "clang") if shutil.which(name))]
# Bits do not depend on it, but the time that the compiler takes does; in .ci/run it takes it.
OPTIMIZE = "-O2" if os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0") else "-O0"

pytestmark = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("cc"), reason="there is no cc, gcc or clang"
)


def run(*command, **environment):
    done = subprocess.run(
        list(map(str, command)),
        env={k: v for k, v in os.environ.items() if not k.startswith("PYCNN_")} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def compile_core(result, *options, compiler="cc", source=SOURCE):
    run(compiler, "-Wall", "-Wextra", "-Werror", *options, "-c", source, "-o", result)
    return result


def exports(library):
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    listed = run(
        "nm", *(["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]), library
    )
    names = re.findall(r" [A-Z] _?(\w+)$", listed, re.M)
    return {name for name in names if name not in ("_init", "_fini")}


def calls():
    """Return the names of the headers' functions."""
    text = "".join(path.read_text("utf-8") for path in SOURCE.parent.glob("pycnn*.h"))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return set(re.findall(r"^PYCNN_API[^(;]*?(pycnn_\w+)\(", text, re.M))


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """The core, compiled as one does by hand."""
    return compile_core(tmp_path_factory.mktemp("core") / "pycnn.o", OPTIMIZE, "-fPIC")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Compile a core of another version, which calls itself "other"."""
    folder = tmp_path_factory.mktemp("other")
    for name in ("pycnn.c", "pycnn.h", "pycnn_file.h"):
        text = SOURCE.with_name(name).read_text("utf-8")
        text = text.replace(f'PYCNN_VERSION "{pycnn.__version__}"', 'PYCNN_VERSION "other"')
        (folder / name).write_text(text, encoding="utf-8")

    def compile_with(*options):
        source = folder / "pycnn.c"
        return compile_core(folder / f"{options}.o", "-O0", "-fPIC", *options, source=source)

    return compile_with


@pytest.mark.thorough
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_core_as_one_file_computes_the_same_bits(core, compiler, tmp_path):
    if compiler != "cc":
        core = compile_core(tmp_path / "pycnn.o", "-O2", compiler=compiler)
    command = ["cc", "-O2", f"-I{SOURCE.parent}", HASH_RUN, core]
    run(*command, "-o", tmp_path / "hash_run", "-pthread", "-lm")
    isa, found = run(tmp_path / "hash_run").splitlines()[-1].split()
    if isa == "baseline":
        pytest.skip("this processor has no instruction set with kernels of its own")
    text = (HASH_RUN.parents[1] / "test_kernels.py").read_text("utf-8")
    assert found == re.search(r'^HASH = "(\w+)"$', text, re.M)[1]


@pytest.mark.thorough
def test_a_shared_library_exports_its_calls_and_a_plugin_beside_it_has_a_core_of_its_own(
    core, other, tmp_path
):
    library, plugin = tmp_path / "libpycnn.so", tmp_path / "plugin.so"
    run("cc", "-shared", other("-DPYCNN_SHARED"), "-o", library, "-pthread", "-lm")
    assert "pycnn_train" in calls()
    assert exports(library) == calls()
    (tmp_path / "plugin.c").write_text(PLUGIN.format("plugin"), encoding="utf-8")
    command = ["cc", "-shared", "-fPIC", f"-I{SOURCE.parent}", tmp_path / "plugin.c", core]
    run(*command, "-o", plugin, "-pthread", "-lm")
    assert exports(plugin) == {"version_of_plugin"}
    found = []
    for path, name in ((library, "pycnn_version"), (plugin, "version_of_plugin")):
        version = getattr(ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL), name)
        version.restype = ctypes.c_char_p
        found.append(version().decode())
    assert found == ["other", pycnn.__version__]


@pytest.mark.thorough
def test_a_program_can_be_linked_with_two_cores(core, other, tmp_path):
    prefix = "-DPYCNN_PREFIX=another_"
    files = [core, other(prefix), tmp_path / "both.c"]
    files[-1].write_text(BOTH, encoding="utf-8")
    for name, options in (("first", []), ("second", [prefix])):
        (tmp_path / f"{name}.c").write_text(PLUGIN.format(name), encoding="utf-8")
        files.append(tmp_path / f"{name}.o")
        command = ["cc", *options, f"-I{SOURCE.parent}", "-c", tmp_path / f"{name}.c"]
        run(*command, "-o", files[-1])
    run("cc", *files, "-o", tmp_path / "both", "-pthread", "-lm")
    assert run(tmp_path / "both").split() == [pycnn.__version__, "other"]


def test_a_program_in_cpp_learns(core, tmp_path):
    if shutil.which("c++") is None or not EXAMPLE.exists():
        pytest.skip("there is no C++ compiler, or no examples")
    options = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{SOURCE.parent}"]
    command = ["c++", *options, EXAMPLE, core, "-o", tmp_path / "digits"]
    run(*command, "-pthread", "-lm")
    samples = np.c_[pycnn.datasets.load_digits()]
    np.savetxt(tmp_path / "digits.txt", samples, "%d")
    assert run(tmp_path / "digits", tmp_path / "digits.txt").endswith(": learned\n")


def blocks(page, language):
    path = ROOT / "docs" / page
    if not path.exists():
        pytest.skip("the tests are away from the source tree")
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text("utf-8"), re.S | re.M)


def test_the_program_of_the_manual_runs(core, tmp_path):
    head, *body = blocks("c.md", "c")
    program = f"{head}\nint main(void)\n{{\n{''.join(body)}}}\n"
    (tmp_path / "page.c").write_text(program, encoding="utf-8")
    options = ["-Wall", "-Wextra", "-Werror", f"-I{SOURCE.parent}"]
    command = ["cc", *options, tmp_path / "page.c", core, "-o", tmp_path / "page"]
    run(*command, "-pthread", "-lm")
    assert run(tmp_path / "page").endswith("\n3.000 -1.000 1.000\n")


def test_the_manual_names_every_call():
    path = ROOT / "docs" / "c.md"
    if not path.exists():
        pytest.skip("the tests are away from the source tree")
    table = path.read_text("utf-8").partition("## All calls")[2].partition("## ")[0]
    names = re.findall(r"`(pycnn_[\w*]+)`", table)
    assert [call for call in calls() if not any(fnmatch(call, name) for name in names)] == []
    assert [name for name in names if not matching(calls(), name)] == []


def test_the_program_in_rust_runs(core, tmp_path):
    if shutil.which("rustc") is None:
        pytest.skip("there is no rustc")
    (program,) = blocks("ffi.md", "rust")
    (tmp_path / "xor.rs").write_text(program, encoding="utf-8")
    run("ar", "rcs", tmp_path / "libpycnn.a", core)
    libraries = ["-L", f"native={tmp_path}", "-l", "static=pycnn", "-l", "m"]
    run("rustc", "-O", tmp_path / "xor.rs", *libraries, "-o", tmp_path / "xor")
    assert run(tmp_path / "xor").startswith("3000 steps")
