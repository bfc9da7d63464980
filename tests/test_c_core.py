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
ALLOCATING = [path for path in SOURCES if "PYCNN_MALLOC(" in Path(path).read_text("utf-8")]
XOR = str(ROOT / "examples/c/xor.c")

STRICT = ["-O2", "-Wall", "-Wextra", "-Werror"]
# Threads with stacks of 64 kB, as embedders and some systems make them, must be able to call it.
SMALL_FRAMES = ["-Wframe-larger-than=4096"]
# Fused multiply-adds are written where they are meant: the bits that the tests compare are those of
# the wheel, which is built so too.
SAME_BITS = ["-ffp-contract=off"]
# Unoptimized: the sanitizers make optimizing the kernels slow, and the tests are small.
SANITIZE = ["-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# Optimized: here the tests take longer than the compiler.
WATCH_THREADS = ["-O1", "-g", "-fsanitize=thread"]


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
WATCHING = COMPILERS[-1] if COMPILERS else ""  # one compiler's ThreadSanitizer is enough

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
    """Programs, and the objects they are linked of, compiled side by side ahead of their tests."""

    def __init__(self, folder):
        self.folder = folder
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.compiled = 0
        self.programs = {}
        self.objects = {}
        for compiler in COMPILERS:
            kinds = {"": [*STRICT, *SAME_BITS]}
            if self.can_run(compiler, SANITIZE):
                kinds["sanitized "] = [*SANITIZE, *SAME_BITS]
            for kind, options in kinds.items():
                strict = [*options, *SMALL_FRAMES] if not kind else options
                plain = {source: self.compile(compiler, strict, source) for source in SOURCES}
                self.objects[compiler, kind] = list(plain.values())
                self.link(compiler, kind + "xor", options, plain, XOR)
                if not kind:
                    self.link(compiler, "core", options, plain, TEST_PROGRAM)
                failing = [*options, *FAILING_MALLOC]
                hooked = {source: self.compile(compiler, failing, source) for source in ALLOCATING}
                self.link(compiler, kind + "failing", failing, plain | hooked, TEST_PROGRAM)
        options = [*WATCH_THREADS, *SAME_BITS]
        if sys.platform == "linux" and self.can_run(WATCHING, options):  # nowhere else was it tried
            watched = {source: self.compile(WATCHING, options, source) for source in SOURCES}
            self.link(WATCHING, "watched core", options, watched, TEST_PROGRAM)

    def can_run(self, compiler, options):
        """Tell whether a program with these options, which are sanitizers, links and runs here."""
        source, program = self.folder / "empty.c", self.folder / "empty"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        built = run(compiler, *options, str(source), "-o", str(program))
        return built.returncode == 0 and run(str(program)).returncode == 0

    def compile(self, compiler, options, source):
        """Return a future of the path of an object file."""
        self.compiled += 1
        result = str(self.folder / f"{self.compiled} {compiler} {Path(source).stem}.o")
        return self.pool.submit(succeed, result, compiler, *options, "-c", source, "-o", result)

    def link(self, compiler, name, options, objects, source):
        """Compile `source` and link it with objects: a mapping from sources to futures."""
        program = str(self.folder / f"{compiler} {name}")

        def build():
            files = [future.result() for future in objects.values()]
            command = [compiler, *options, f"-I{ROOT / 'csrc'}", source, *files]
            return succeed(program, *command, "-o", program, "-pthread", "-lm")

        self.programs[compiler, name] = self.pool.submit(build)

    def program(self, compiler, name):
        if (compiler, name) not in self.programs:
            pytest.skip(f"{compiler} cannot link its sanitizers here")
        return self.programs[compiler, name].result()


def succeed(result, *command):
    """Run a compiler, which must succeed and say nothing; return `result`."""
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return result


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    made = Builds(tmp_path_factory.mktemp("c"))
    yield made
    made.pool.shutdown(cancel_futures=True)


@each_compiler
@pytest.mark.parametrize("kind", ["core", "failing", "sanitized failing"])
def test_the_core_passes_its_own_tests(builds, compiler, kind):
    done = run(builds.program(compiler, kind))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"^[1-9][0-9]{4,} passed, 0 failed$", done.stdout, re.M)
    assert ("every allocation may fail" in done.stdout) == ("failing" in kind)


def test_no_two_threads_race(builds):
    done = run(builds.program(WATCHING, "watched core"))
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not bear this system's address randomization")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "callers may share a pool" in done.stdout


@each_compiler
@pytest.mark.parametrize("kind", ["xor", "sanitized xor"])
def test_a_c_program_learns_xor(builds, compiler, kind):
    done = run(builds.program(compiler, kind))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith(": learned\n")


@each_compiler
def test_valgrind_finds_no_error_and_no_leak(builds, compiler):
    if shutil.which("valgrind") is None:
        pytest.skip("there is no valgrind")
    options = ["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]
    done = run("valgrind", *options, builds.program(compiler, "xor"))
    assert done.returncode == 0, done.stderr


def test_a_wrong_pycnn_isa_is_an_error_and_not_a_crash(builds, monkeypatch):
    monkeypatch.setenv("PYCNN_ISA", "z80")
    done = run(builds.program(COMPILERS[0], "xor"))
    assert done.returncode == 1
    assert "PYCNN_ISA must name an instruction set that can run here" in done.stderr


def symbols(builds, compiler, *options):
    """Return (type, name) of the symbols in the core's objects, as nm lists them."""
    if shutil.which("nm") is None:
        pytest.skip("there is no nm")
    files = [future.result() for future in builds.objects[compiler, ""]]
    done = run("nm", *options, *files)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^[0-9a-f ]*([A-Za-z]) (\S+)$", done.stdout, re.M)
    prefix = "_" if sys.platform == "darwin" else ""
    return [(kind, name.removeprefix(prefix)) for kind, name in found]


@each_compiler
def test_every_global_symbol_has_the_prefix(builds, compiler):
    found = symbols(builds, compiler, "-g")
    defined = {name for kind, name in found if kind != "U"}
    assert "pycnn_train" in defined
    assert not {name for name in defined if not name.startswith("pycnn_")}


@each_compiler
def test_the_core_never_prints_exits_or_aborts(builds, compiler):
    wanted = {name for kind, name in symbols(builds, compiler, "-u")}
    assert "malloc" in wanted
    forbidden = re.compile(r"print|puts|putc|fwrite|std(out|err)|perror|exit|abort|assert|signal")
    assert not {name for name in wanted if forbidden.search(name)}


@each_compiler
def test_the_core_keeps_no_global_state(builds, compiler):
    found = symbols(builds, compiler)
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
