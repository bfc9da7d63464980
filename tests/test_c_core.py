"""The C core without Python: it builds alone, warns of nothing, and passes its own tests."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(map(str, (ROOT / "csrc").glob("*.c")))
TEST_PROGRAM = str(ROOT / "tests/c/test_core.c")
FAILING_MALLOC = ["-include", str(ROOT / "tests/c/failing_malloc.h")]
XOR = str(ROOT / "examples/c/xor.c")

STRICT = ["-O2", "-Wall", "-Wextra", "-Werror"]
# Fused multiply-adds are written where they are meant: the bits that the tests compare are those of
# the wheel, which is built so too.
SAME_BITS = ["-ffp-contract=off"]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def find_compilers():
    """Return what answers to cc, gcc and clang (or the newest clang-N), each compiler once."""
    if os.name == "nt":  # gcc there misaligns vectors on the stack, and cl has other options
        return []
    names = ["cc", "gcc", "clang"]
    if shutil.which("clang") is None:
        names += [f"clang-{n}" for n in range(40, 10, -1) if shutil.which(f"clang-{n}")][:1]
    found = {os.path.realpath(path): name for name in names[::-1] if (path := shutil.which(name))}
    return list(found.values())[::-1]


COMPILERS = find_compilers()

pytestmark = [
    pytest.mark.skipif(not SOURCES, reason="the C sources are not here: only tests/ is"),
    pytest.mark.skipif(not COMPILERS, reason="there is no cc, gcc or clang"),
]

each_compiler = pytest.mark.parametrize("compiler", COMPILERS)


def run(*command, **options):
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


class Builds:
    """Programs and objects, compiled side by side before the first of them is asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.made = {}
        for compiler in COMPILERS:
            if self.can_sanitize(compiler):
                self.start(compiler, "sanitized core", [*SANITIZE, *SAME_BITS, *FAILING_MALLOC])
                self.start(compiler, "sanitized xor", SANITIZE, XOR)
            self.start(compiler, "core", [*STRICT, *SAME_BITS])
            self.start(compiler, "xor", STRICT, XOR)
            self.start_objects(compiler)

    def can_sanitize(self, compiler):
        """Tell whether a program with the sanitizers links and runs here."""
        source, program = self.folder / "empty.c", self.folder / "empty"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        built = run(compiler, *SANITIZE, str(source), "-o", str(program))
        return built.returncode == 0 and run(str(program)).returncode == 0

    def start(self, compiler, name, options, source=TEST_PROGRAM):
        program = str(self.folder / f"{compiler} {name}")
        command = [compiler, *options, f"-I{ROOT / 'csrc'}", *SOURCES, source, "-o", program, "-lm"]
        self.made[compiler, name] = self.pool.submit(run, *command), program

    def start_objects(self, compiler):
        folder = self.folder / f"{compiler} objects"
        folder.mkdir()
        command = [compiler, *STRICT, "-c", *SOURCES]
        self.made[compiler, "objects"] = self.pool.submit(run, *command, cwd=folder), folder

    def get(self, compiler, name):
        if (compiler, name) not in self.made:
            pytest.skip(f"{compiler} cannot link its sanitizers here")
        future, result = self.made[compiler, name]
        compiled = future.result()
        assert compiled.returncode == 0, compiled.stderr
        assert compiled.stderr == ""
        return result


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    made = Builds(tmp_path_factory.mktemp("c"))
    yield made
    made.pool.shutdown(cancel_futures=True)


@each_compiler
@pytest.mark.parametrize("kind", ["core", "sanitized core"])
def test_the_core_passes_its_own_tests(builds, compiler, kind):
    done = run(builds.get(compiler, kind))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^[1-9][0-9]{4,} passed, 0 failed$", done.stdout, re.M)
    assert ("every allocation may fail" in done.stdout) == (kind == "sanitized core")


@each_compiler
@pytest.mark.parametrize("kind", ["xor", "sanitized xor"])
def test_a_c_program_learns_xor(builds, compiler, kind):
    done = run(builds.get(compiler, kind))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith(": learned\n")


@each_compiler
def test_valgrind_finds_no_error_and_no_leak(builds, compiler):
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    options = ["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]
    done = run("valgrind", *options, builds.get(compiler, "xor"))
    assert done.returncode == 0, done.stderr


def test_the_plain_build_line_needs_no_options(tmp_path):
    program = str(tmp_path / "core")
    command = [COMPILERS[0], "-O2", "-pthread", *SOURCES, TEST_PROGRAM, f"-I{ROOT / 'csrc'}", "-lm"]
    done = run(*command, "-o", program)
    assert done.returncode == 0, done.stderr
    done = run(program)
    assert done.returncode == 0, done.stdout


def test_a_wrong_pycnn_isa_is_an_error_and_not_a_crash(builds, monkeypatch):
    monkeypatch.setenv("PYCNN_ISA", "z80")
    done = run(builds.get(COMPILERS[0], "xor"))
    assert done.returncode == 1
    assert "PYCNN_ISA must name an instruction set that can run here" in done.stderr


def symbols(objects, *options):
    """Return (type, name) of the symbols of a folder's objects, as nm lists them."""
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    files = sorted(map(str, objects.glob("*.o")))
    assert len(files) == len(SOURCES)
    done = run("nm", *options, *files)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^[0-9a-f ]*([A-Za-z]) (\S+)$", done.stdout, re.M)
    prefix = "_" if sys.platform == "darwin" else ""
    return [(kind, name.removeprefix(prefix)) for kind, name in found]


@each_compiler
def test_every_global_symbol_has_the_prefix(builds, compiler):
    found = symbols(builds.get(compiler, "objects"), "-g")
    defined = {name for kind, name in found if kind != "U"}
    assert "pycnn_train" in defined
    assert not {name for name in defined if not name.startswith("pycnn_")}


@each_compiler
def test_the_core_never_prints_exits_or_aborts(builds, compiler):
    wanted = {name for kind, name in symbols(builds.get(compiler, "objects"), "-u")}
    assert "malloc" in wanted
    forbidden = re.compile(r"print|puts|putc|fwrite|std(out|err)|perror|exit|abort|assert|signal")
    assert not {name for name in wanted if forbidden.search(name)}


@each_compiler
def test_the_core_keeps_no_global_state(builds, compiler):
    found = symbols(builds.get(compiler, "objects"))
    assert not {name for kind, name in found if kind in "bBC"}  # zeroed, hence writable, memory


def test_the_header_is_also_a_cpp_header(tmp_path):
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    source = tmp_path / "user.cpp"
    source.write_text('#include "pycnn.h"\nconst char *version() { return pycnn_version(); }\n')
    options = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'csrc'}"]
    done = run(compiler, *options, str(source))
    assert done.returncode == 0, done.stderr
