"""The C core without Python: it builds alone, warns of nothing, and passes its own tests."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import pycnn

ROOT = Path(__file__).resolve().parents[1]


def test_the_core_passes_its_own_tests(programs, core_test):
    compiler, kind = core_test
    done = programs.output(compiler, kind)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^[1-9][0-9]{4,} passed, 0 failed$", done.stdout, re.M)
    assert ("every allocation may fail" in done.stdout) == ("failing" in kind)


@pytest.mark.thorough
def test_no_two_threads_race(programs):
    done = programs.output(programs.watching, "watched core")
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not bear this system's address randomization")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "callers may share a pool" in done.stdout


def test_examples_in_c_end_well(programs, example):
    done = programs.run(*example)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith((": learned\n", " the same bits\n"))


def test_what_learns_in_c_is_served_in_c_and_read_in_python(core, programs, compiler, tmp_path):
    X, y = pycnn.datasets.load_digits()
    table, model = tmp_path / "digits.csv", tmp_path / "model.safetensors"
    np.savetxt(table, np.c_[X, y], "%d", ",")
    rows = "\n".join(", ".join(map(str, row / 16)) for row in X[:20])
    for kind in ("", "sanitized "):
        if (compiler, kind + "digits") not in programs.programs:
            continue
        done = programs.run(compiler, kind + "digits", table, model)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^1437 images, 0.9\d+ of 360 others recognized$", done.stdout, re.M)
        done = programs.run(compiler, kind + "serve", model, data=rows.encode())
        assert done.returncode == 0, done.stderr
        net = pycnn.load(model)
        assert np.array_equal(
            np.loadtxt(done.stdout.decode().splitlines()), net.predict(X[:20] / 16)
        )
        assert net.evaluate(X / 16, y)["accuracy"] > 0.97


def test_valgrind_finds_no_error_and_no_leak(programs, compiler):
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    options = ["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]
    done = programs.execute("valgrind", *options, programs.path(compiler, "xor"))
    assert done.returncode == 0, done.stderr


def test_a_wrong_pycnn_isa_is_an_error_and_not_a_crash(programs, compiler):
    done = programs.run(compiler, "xor", PYCNN_ISA="z80")
    assert done.returncode == 1
    assert "PYCNN_ISA must name an instruction set that can run here" in done.stderr


def symbols(programs, compiler, *options, without="?"):
    """Return (type, name) of the symbols in the core's objects, as nm lists them."""
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    objects = programs.core_objects(compiler)
    done = programs.execute("nm", *options, *(o for o in objects if without not in o.name))
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^[0-9a-f ]*([A-Za-z]) (\S+)$", done.stdout, re.M)
    prefix = "_" if sys.platform == "darwin" else ""
    return [(kind, name.removeprefix(prefix)) for kind, name in found]


def includes(path):
    return re.findall(r'^#include [<"](.+)[>"]', path.read_text("utf-8"), re.M)


def test_every_file_reads_first_what_the_compiler_may_do_with_its_arithmetic(programs):
    for source in (ROOT / "csrc").glob("*.c"):
        first = source
        while first.name != "common.h":
            first = ROOT / "csrc" / includes(first)[0]
            assert first.exists(), f"{source.name} includes {first.name} before common.h"


@pytest.mark.parametrize(
    "option",
    ["-ffast-math", "-Ofast", "-ffinite-math-only", "-D__FLT_EVAL_METHOD__=2"],
)
def test_options_that_change_the_arithmetic_are_refused(programs, compiler, option):
    file = ROOT / "csrc" / "optimizer.c"
    done = programs.execute(compiler, option, "-w", "-fsyntax-only", file)
    assert done.returncode != 0
    assert re.search(r"#?error:?.*pycnn needs (arithmetic as it is written|doubles)", done.stderr)


def test_a_host_needs_no_threads_and_no_environment(programs, compiler):
    done = programs.run(compiler, "alone", 3, PYCNN_ISA="z80")
    assert done.returncode == 0, done.stderr
    assert done.stdout == programs.run(compiler, "hash_run", 1).stdout
    done = programs.execute("nm", "-u", *programs.alone_objects(compiler))
    assert "malloc" in done.stdout
    assert not re.search("pthread|getenv|sched|signal|clock_gettime", done.stdout)


def test_every_global_symbol_has_the_prefix(programs, compiler):
    found = symbols(programs, compiler, "-g")
    defined = {name for kind, name in found if kind != "U"}
    assert "pycnn_train" in defined
    assert not {name for name in defined if not name.startswith("pycnn_")}


def test_the_core_never_prints_exits_or_aborts(programs, compiler):
    wanted = {name for kind, name in symbols(programs, compiler, "-u", without="pycnn_file")}
    assert "malloc" in wanted
    forbidden = re.compile(r"print|puts|putc|fwrite|std(out|err)|perror|exit|abort|assert|signal")
    assert not {name for name in wanted if forbidden.search(name)}


def test_the_core_keeps_no_global_state(programs, compiler):
    found = symbols(programs, compiler)
    assert not {name for kind, name in found if kind in "bBC"}  # zeroed, hence writable, memory


def test_the_header_is_also_a_cpp_header(programs, tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    source = tmp_path / "user.cpp"
    source.write_text('#include "pycnn.h"\nconst char *version() { return pycnn_version(); }\n')
    options = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'csrc'}"]
    done = programs.execute(compiler, *options, source)
    assert done.returncode == 0, done.stderr


def test_every_call_of_the_header_says_that_it_is_one():
    header = ROOT / "csrc" / "pycnn.h"
    if not header.exists():
        pytest.skip("no source tree beside the tests")
    declared = header.read_text("utf-8").split("/* cdef: begin */")[1].split("/* cdef: end */")[0]
    declared = re.sub(r"/\*.*?\*/", "", declared, flags=re.S)
    calls = [
        line for line in re.findall(r"[^;{}]+\(.*?\);", declared, re.S) if "typedef" not in line
    ]
    assert calls
    assert [line for line in calls if not line.lstrip().startswith("PYCNN_API ")] == []


def test_what_is_compiled_into_a_plugin_is_its_own(programs, compiler):
    if sys.platform != "linux" or shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    done = programs.execute("readelf", "--wide", "--symbols", *programs.core_objects(compiler))
    found = re.findall(r" GLOBAL +(\w+) +(\w+) +(\S+)$", done.stdout, re.M)
    seen = {(name, visibility) for visibility, where, name in found if where != "UND"}
    assert ("pycnn_train", "HIDDEN") in seen
    assert {visibility for _, visibility in seen} == {"HIDDEN"}
