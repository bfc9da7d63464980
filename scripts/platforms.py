r"""Compile the core for every platform that a compiler here reaches; test it where it runs.

    python scripts/platforms.py [--only WORDS] [--write]      the table of docs/platforms.md
    python scripts/platforms.py --wheel ARCHITECTURE [--write]   the suite, in Debian on that

A row is a platform and a compiler. All of the core, as its files and as the single one, and its
test programs must compile without a warning; every program that runs must have checked something,
and found nothing; and every training must end in one of two hashes, with fused multiply-adds and
without. What is missing here is named and left out; `--write` puts what was made in place of what
the page has of it.

    python3 -m pip install ziglang      or zig itself; --zig names another
    apt-get install clang musl-tools gcc-mingw-w64-x86-64 wine wine64 nodejs qemu-user-static \
        gcc-{aarch64,i686,powerpc64le,riscv64,s390x}-linux-gnu gcc-arm-linux-gnueabihf \
        libc6-dev-{arm64,armhf,i386,ppc64el,riscv64,s390x}-cross

What clang-cl compiles needs setuptools and cffi besides, which know the flags of a wheel. A wheel
needs debootstrap, the superuser, and a kernel that calls qemu for foreign programs, as Debian's
qemu-user-static has it. There Python and what it compiles are emulated; the compiler is not, which
would take most of the time: it is this machine's cross compiler, in place of the one in there.
"""

import argparse
import array
import contextlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "platforms.md"
CORE = sorted((ROOT / "csrc").glob("*.c"))
TESTS = ROOT / "tests" / "c"
PROGRAMS = {
    "kernels_run": [TESTS / "kernels_run.c"],
    "test_core": [TESTS / "check.c", *sorted(TESTS.glob("test_*.c"))],
    "hash_run": [TESTS / "hash_run.c"],
}
STRICT = ("-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'csrc'}")
GNU, C11 = ("-std=gnu11",), ("-std=c11", "-pedantic", "-D_POSIX_C_SOURCE=200809L")
THREADS = (1, 2, 3, 4, 7)
X86, ARM, PLAIN = ("avx512", "avx2", "baseline"), ("neon", "baseline"), ("baseline",)

# A program of WebAssembly, its arguments and the environment.
WASI = """
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";
const args = process.argv.slice(2);
const preopens = { "/": "/" };
const { env } = process;
const wasi = new WASI({ version: "preview1", args, env, preopens, returnOnExit: true });
const program = await WebAssembly.compile(readFileSync(args[0]));
process.exitCode = wasi.start(await WebAssembly.instantiate(program, wasi.getImportObject()));
"""

# Of Windows's C library, which comes with an SDK that is not to be had elsewhere, the core needs no
# more than this; threads.c and the tests, which need more, are compiled with another's headers.
SDK = r"""
#include <stddef.h>
#define assert(x) ((void)0)
void *malloc(size_t), free(void *);
void *memcpy(void *, const void *, size_t), *memset(void *, int, size_t);
void *memmove(void *, const void *, size_t);
int memcmp(const void *, const void *, size_t), strcmp(const char *, const char *);
size_t strlen(const char *);
char *getenv(const char *);
double exp(double), expm1(double), log(double), log1p(double), tanh(double), fabs(double);
double sqrt(double), erfc(double), copysign(double, double), floor(double), rint(double);
double ldexp(double, int), frexp(double, int *), pow(double, double), cos(double), sin(double);
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VAL __builtin_inf()
#define isinf(x) __builtin_isinf(x)
#define isnan(x) __builtin_isnan(x)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)
"""


@dataclass(frozen=True)
class Platform:
    """One row: what compiles, and how what came out is run."""

    name: str
    compiler: str  # the command; "zig" stands for Zig's C compiler
    options: tuple[str, ...] = ("-O2", *GNU, "-pthread")
    run: str | None = ""  # the command in front of a program; None: it cannot be run here
    isas: tuple[str, ...] = X86  # those whose hashes are compared
    threads: tuple[int, ...] = THREADS
    big_endian: bool = False
    core_by: str = ""  # the target that clang-cl compiles the core for
    said: str = ""  # in the table, of the compiler

    @property
    def fused(self):
        """The instruction sets with kernels, whose bits the baseline does not share."""
        return tuple(isa for isa in self.isas if isa != "baseline")

    @property
    def title(self):
        """What the row is called while it runs."""
        return f"{self.name}, {self.compiler} {self.said}".strip()


def zig(name, target, *options, **other):
    """Return a row of Zig's compiler, which brings the C libraries of its targets."""
    said = f"{target}, the core by clang-cl" if other.get("core_by") else target
    return Platform(name, "zig", ("-target", target, "-O2", *GNU, *options), said=said, **other)


def emulated(name, triplet, qemu, isas=PLAIN, options=(), **other):
    """Return a row of Debian's cross compiler, run by qemu."""
    options = ("-O2", *GNU, "-static", "-pthread", *options)
    run = f"qemu-{qemu}-static"
    return Platform(name, f"{triplet}-gcc", options, run=run, isas=isas, threads=(3,), **other)


def emulated_musl(name, target, qemu, isas=PLAIN, **other):
    """Return a row of Zig's compiler and musl, run by qemu."""
    run = f"qemu-{qemu}-static"
    return zig(name, target, "-static", run=run, isas=isas, threads=(3,), **other)


NATIVE = [
    Platform("Linux x86-64, glibc", compiler, (level, *GNU, "-pthread"), said=level)
    for compiler in ("gcc", "clang")
    for level in ("-O0", "-O2", "-O3")
]
# It must not need GNU extensions, nor more of a compiler than C11; and none is left in use where
# there are no vectors: a compiler that does not call itself GNU.
STANDARD = [
    Platform("Linux x86-64, glibc", compiler, ("-O2", *C11, "-pthread"), said="-std=c11 -pedantic")
    for compiler in ("gcc", "clang")
] + [
    Platform(
        "Linux x86-64, glibc",
        "clang",
        # The C library then writes INFINITY as a number that is too large, and clang says so; and
        # nothing can mark what the single file does not use.
        (
            *("-O2", *C11, "-U__GNUC__", "-U__clang__"),
            *("-Wno-literal-range", "-Wno-unused-function", "-pthread"),
        ),
        isas=PLAIN,
        said="-std=c11 -pedantic, without GNU's extensions",
    )
]
PLATFORMS = [
    *NATIVE,
    *STANDARD,
    zig("Linux x86-64, glibc 2.17", "x86_64-linux-gnu.2.17"),
    zig("Linux x86-64, musl", "x86_64-linux-musl", "-static"),
    Platform("Linux x86-64, musl", "musl-gcc", ("-O2", *GNU, "-static", "-pthread")),
    emulated("Linux aarch64, glibc", "aarch64-linux-gnu", "aarch64", ARM),
    zig(
        "Linux aarch64, glibc 2.17",
        "aarch64-linux-gnu.2.17",
        run="qemu-aarch64-static -L /usr/aarch64-linux-gnu",
        isas=ARM,
        threads=(3,),
    ),
    emulated_musl("Linux aarch64, musl", "aarch64-linux-musl", "aarch64", ARM),
    emulated("Linux armhf, glibc", "arm-linux-gnueabihf", "arm"),
    emulated_musl("Linux armhf, musl", "arm-linux-musleabihf", "arm"),
    emulated("Linux i686, glibc", "i686-linux-gnu", "i386", options=("-msse2", "-mfpmath=sse")),
    emulated("Linux riscv64, glibc", "riscv64-linux-gnu", "riscv64"),
    emulated_musl("Linux riscv64, musl", "riscv64-linux-musl", "riscv64"),
    emulated("Linux ppc64le, glibc", "powerpc64le-linux-gnu", "ppc64le"),
    emulated("Linux s390x, glibc", "s390x-linux-gnu", "s390x", big_endian=True),
    emulated_musl("Linux s390x, musl", "s390x-linux-musl", "s390x", big_endian=True),
    zig("Windows x86-64", "x86_64-windows-gnu", run="wine"),
    Platform(
        "Windows x86-64", "x86_64-w64-mingw32-gcc", ("-O2", *GNU, "-static"), run="wine", isas=PLAIN
    ),
    zig("Windows x86-64", "x86_64-windows-gnu", core_by="win-amd64", run="wine"),
    zig("Windows arm64", "aarch64-windows-gnu", core_by="win-arm64", run=None, isas=ARM),
    zig("macOS arm64", "aarch64-macos", run=None, isas=ARM),
    zig("macOS x86-64", "x86_64-macos", run=None),
    zig(
        "WebAssembly, WASI",
        "wasm32-wasi",
        "-DPYCNN_NO_THREADS",
        "-Wl,--initial-memory=536870912",
        # Its threads crash now and then, and so does what makes a program's memory larger.
        run="node --no-warnings --single-threaded wasi.mjs",
        isas=PLAIN,
        threads=(1,),
    ),
]


class Missing(Exception):
    """What this machine would need for a row."""


@dataclass
class Result:
    """What became of a row."""

    platform: Platform
    version: str = ""
    checks: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)  # the common one of each arithmetic
    wrong: list[str] = field(default_factory=list)
    absent: str = ""  # what is missing here, and the row with it


def stored_hashes():
    """Return what the tests hold, by the first word of hash_run's lines: fused, and unfused.

    The last line, which begins with the instruction set, goes by "" here.
    """
    text = (ROOT / "tests" / "test_kernels.py").read_text(encoding="utf-8")
    others = re.findall(r'^    "(\w+)": \("(\w+)", "(\w+)"\),$', text, re.MULTILINE)
    last = re.findall(r'^HASH(?:_UNFUSED)? = "(\w+)"$', text, re.MULTILINE)
    return {
        kind: {subject: both[place] for subject, *both in [*others, ("", *last)]}
        for place, kind in enumerate(("fused", "unfused"))
    }


def arithmetic(isa):
    """Return what an instruction set's bits are shared by."""
    return "unfused" if isa == "baseline" else "fused"


def lines_of(isa, hashes):
    """Return the lines at the end of what hash_run prints, where all is well."""
    return [f"{subject or isa} {value}" for subject, value in hashes.items()]


def count_checks(output):
    """Return how many checks a test program made; it has failed when that is none."""
    last = re.search(r"^(\d+) passed, (\d+) failed\s*\Z", output, re.MULTILINE)
    if last is None:
        raise ValueError("did not get to its end")
    passed, failed = map(int, last.groups())
    if failed or not passed:
        raise ValueError(f"{passed} passed, {failed} failed")
    return passed


def arguments_of(function):
    """Return numbers for one of math_run's functions, of all magnitudes that it is made for."""
    numbers = [sign * 2.0 ** (k / 8) * 1.37 for k in range(-400, 76) for sign in (1, -1)]
    numbers += [k / 7 for k in range(-5200, 4960)]
    if function == "log":
        return [x for x in numbers if x > 0]
    if function == "log1p":
        return [x for x in numbers if x >= 0]
    return numbers


class Bench:
    """Where rows are made: a folder, the programs of this machine, what all rows must share."""

    def __init__(self, folder, zig_command, platforms):
        self.folder = folder
        self.zig = shlex.split(zig_command) if zig_command else self.find_zig()
        self.expected = stored_hashes()
        self.values = {}  # of the functions, by arithmetic: the first row's
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PYCNN_")} | {
            "ZIG_GLOBAL_CACHE_DIR": os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(folder / "zig")),
            "ZIG_LOCAL_CACHE_DIR": str(folder / "zig"),
            "WINEDEBUG": "-all",
            "WINEPREFIX": os.environ.get("WINEPREFIX", str(folder / "wine")),
        }
        (folder / "wasi.mjs").write_text(WASI, encoding="utf-8")
        self.single = folder / "single"
        self.single.mkdir()
        runpy.run_path(str(ROOT / "scripts" / "amalgamate.py"))["write"](self.single)
        self.sdk = folder / "sdk"
        self.sdk.mkdir(exist_ok=True)
        for name in ("assert.h", "malloc.h", "math.h", "string.h"):
            (self.sdk / name).write_text("#include <stdlib.h>\n", encoding="utf-8")
        (self.sdk / "stdlib.h").write_text(f"#pragma once\n{SDK}", encoding="utf-8")
        self.clang_cl = {}
        names = [*(f"clang-{release}" for release in range(40, 10, -1)), "clang"]
        clang = next(filter(None, map(shutil.which, names)), None)
        if clang and find_spec("setuptools") and find_spec("cffi"):
            (folder / "bin").mkdir()
            (folder / "bin" / "clang-cl").symlink_to(clang)  # it is what it is called
            for target in ("win-amd64", "win-arm64"):
                self.clang_cl[target] = flags_for_windows(target, folder / "bin" / "clang-cl")
        if shutil.which("wine") and any(
            p.run == "wine" for p in platforms
        ):  # one row after the other would make it at the same time
            self.call(["wine", "wineboot", "--init"])

    @staticmethod
    def find_zig():
        """Return the command of Zig, or nothing."""
        if shutil.which("zig"):
            return ["zig"]
        module = [sys.executable, "-m", "ziglang"]
        done = subprocess.run([*module, "version"], capture_output=True, check=False)
        return module if done.returncode == 0 else []

    def call(self, command, cwd=None, data=None, **environment):
        """Run a program; return its exit status, what it printed, and its errors."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd or self.folder,
            input=data or b"",
            env=self.environment | environment,
            capture_output=True,
            timeout=3600,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def compiler(self, platform):
        """Return the command of a row's compiler, and its version."""
        if platform.compiler == "zig":
            if not self.zig:
                raise Missing("zig")
            return [*self.zig, "cc"], self.output([*self.zig, "version"])
        if not shutil.which(platform.compiler):
            raise Missing(platform.compiler)
        version = self.output([platform.compiler, "-dumpversion"])
        return [platform.compiler], version.removesuffix("-win32")

    def output(self, command):
        """Return what a program prints."""
        return self.call(command)[1].decode().strip()

    def make(self, platform):
        """Compile a row, and run it."""
        result = Result(platform)
        start = time.monotonic()
        try:
            compiler, result.version = self.compiler(platform)
            runner = self.runner(platform)
            room = Path(tempfile.mkdtemp(dir=self.folder))
            self.build(platform, compiler, room)
            if runner is not None:
                self.run_programs(result, runner, room)
        except Missing as missing:
            result.absent = str(missing)
        except (ValueError, subprocess.TimeoutExpired) as error:
            result.wrong.append(str(error))
        word = "FAILED" if result.wrong else f"without {result.absent}" if result.absent else "ok"
        checks, seconds = sum(result.checks.values()), time.monotonic() - start
        print(f"{word:8} {platform.title}: {checks} checks, {seconds:.0f} s", flush=True)
        for what in result.wrong:
            print(f"         {what}", flush=True)
        return result

    def runner(self, platform):
        """Return the command in front of a row's programs, or None where they cannot run."""
        if platform.run is None:
            return None
        command = platform.run.split()
        if command and not shutil.which(command[0]):
            raise Missing(command[0])
        if not command and os.uname().machine != "x86_64":
            raise Missing("an x86-64 processor")
        return command

    def succeed(self, command, cwd):
        """Run a compiler, which must have nothing to say."""
        status, _, errors = self.call(command, cwd=cwd)
        if status or errors:
            lines = [line for line in errors.splitlines() if "error" in line or "warning" in line]
            raise ValueError("\n".join([shlex.join(map(str, command))[:400], *lines[:12]]))

    def build(self, platform, compiler, room):
        """Compile the core once, and each program with it."""
        command = [*compiler, *platform.options, *STRICT]
        objects = []
        if platform.core_by:
            objects = self.build_with_clang_cl(platform.core_by, room)
        for source in CORE:
            if f"{source.stem}.obj" not in [path.name for path in objects]:
                objects.append(room / f"{source.stem}.o")
                self.succeed([*command, "-c", source, "-o", objects[-1]], room)
        programs = {name: (sources, objects, ()) for name, sources in PROGRAMS.items()}
        if not platform.fused:  # it compares them with the baseline
            del programs["kernels_run"]
        if not platform.core_by:  # the single file has what needs more of an SDK, too
            programs["single_run"] = ([*PROGRAMS["hash_run"], self.single / "pycnn.c"], [], ())
        for isa in platform.isas:
            name = f"KERNELS_{isa.upper()}"
            programs[f"math_{isa}"] = ([TESTS / "math_run.c"], [], (f"-D{name}",))
        for name, (sources, linked, options) in programs.items():
            self.succeed(
                [*command, *options, *sources, *linked, "-o", room / f"{name}.exe", "-lm"], room
            )

    def build_with_clang_cl(self, target, room):
        """Compile the core as a wheel's build does for Windows; return its object files."""
        if target not in self.clang_cl:
            raise Missing("clang, or Python's setuptools and cffi")
        # Strict, and without what only Microsoft's linker knows.
        strict = ("-imsvc", self.sdk, "/W4", "/WX", "/Zl", "/GS-", f"-I{ROOT / 'csrc'}")
        command = [*self.clang_cl[target], "-Wno-unused-command-line-argument", *strict, "/c"]
        (room / "used.c").write_text("int _fltused;\n", encoding="utf-8")
        objects = []
        for source in [*CORE, room / "used.c"]:
            if source.name not in ("threads.c", "pycnn_file.c"):  # they need more of an SDK
                objects.append(room / f"{source.stem}.obj")
                self.succeed([*command, source, f"/Fo{objects[-1]}"], room)
        return objects

    def run_programs(self, result, runner, room):
        """Run all that was built, and note what it found."""
        platform = result.platform

        def run(program, *arguments, **more):
            status, output, errors = self.call(
                [*runner, room / f"{program}.exe", *arguments], TMPDIR=str(room), **more
            )
            if status and "PYCNN_ISA must" not in output.decode(errors="replace"):
                last = [*output.decode(errors="replace").splitlines(), *errors.splitlines()][-6:]
                raise ValueError("\n".join([f"{program} {more.get('PYCNN_ISA', '')}", *last]))
            return output

        for program in ("kernels_run", "test_core"):
            if program != "kernels_run" or platform.fused:
                result.checks[program] = count_checks(run(program).decode())
        result.checks["hash_run"] = result.checks["math_run"] = 0
        for isa in platform.isas:
            kind = arithmetic(isa)
            runs = [("hash_run", threads) for threads in platform.threads]
            if not platform.core_by:
                runs.append(("single_run", platform.threads[-1]))
            for program, threads in runs:
                output = run(program, threads, PYCNN_ISA=isa).decode()
                lines = output.splitlines()
                if "PYCNN_ISA must" in lines[-1]:  # a processor without it
                    break
                expected = lines_of(isa, self.expected[kind])
                if lines[-len(expected) :] != expected:
                    raise ValueError(f"{program}, {threads} threads: {lines[-3:]}, not {expected}")
                result.hashes[kind] = self.expected[kind][""]
                result.checks["hash_run"] += 1
            else:
                result.checks["math_run"] += self.compare_values(platform, isa, run)

    def compare_values(self, platform, isa, run):
        """Hold the functions' values against those of the first row; return how many they were."""
        functions = re.findall(r'^    \{"(\w+)", ', (TESTS / "math_run.c").read_text("utf-8"), re.M)
        count = 0
        for function in functions:
            numbers = array.array("d", arguments_of(function))
            swapped = platform.big_endian != (sys.byteorder == "big")
            if swapped:
                numbers.byteswap()
            columns = ["8"] if function == "softmax" else []
            values = array.array("d", run(f"math_{isa}", function, *columns, data=bytes(numbers)))
            if swapped:
                values.byteswap()
            if not values:
                raise ValueError(f"{function} of {isa} has no value")
            first = self.values.setdefault((arithmetic(isa), function), values.tobytes())
            if values.tobytes() != first:
                raise ValueError(f"{function} has other values with {isa}")
            count += len(values)
        return count


def flags_for_windows(target, clang_cl):
    """Return what the build of a wheel for Windows hands to the compiler, by the build itself."""
    with contextlib.chdir(ROOT), mock.patch("setuptools.setup"):
        build = runpy.run_path("setup.py")["build_ext"]
        options, _ = runpy.run_path("build_ffi.py")["options"]("win32")
    compiler = SimpleNamespace(  # as setuptools has it for Microsoft's
        initialized=True,
        compile_options=["/nologo", "/O2", "/W3", "/GL", "/DNDEBUG", "/MD"],
        _ldflags={},
    )
    with mock.patch.dict(os.environ, PATH=str(clang_cl.parent)):
        build.use_clang_cl(
            SimpleNamespace(compiler=compiler, plat_name=target, TARGETS=build.TARGETS)
        )
    return [compiler.cc, *compiler.compile_options, *options]


def write(section, text):
    """Replace a section of the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = (f"<!-- {section}: {word} -->\n" for word in ("begin", "end"))
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has lost its marks around '{section}'")
    PAGE.write_text(f"{head}{begin}{text}{end}{tail}", encoding="utf-8")


HEAD = """\
| platform | compiler | run by | checks | fused | unfused |
| --- | --- | --- | --: | --- | --- |
"""


def row(result):
    """Return the page's line for a row that was made."""
    platform = result.platform
    compiler = f"{platform.compiler} {result.version} {platform.said}".strip()
    if result.wrong:
        ways = ["**failed**", "", "", ""]
    elif platform.run is None:
        ways = ["built, not run here", "", "", ""]
    else:
        hashes = [result.hashes.get(kind, "") for kind in ("fused", "unfused")]
        hashes = [f"`{found}`" if found else "" for found in hashes]
        runner = (platform.run or "itself").split()[0]
        ways = [runner, f"{sum(result.checks.values()):,}", *hashes]
    return f"| {' | '.join([platform.name, compiler, *ways])} |\n"


def merged(results):
    """Return the table with these rows, and those of the page that were not made."""
    made = {result.platform: row(result) for result in results if not result.absent}
    known = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines(keepends=True):
        if len(cells := line.split(" | ")) == 6:
            known[cells[0], re.sub(r" \d[\d.]*", "", cells[1])] = line
    rows = [
        made.get(p) or known.get((f"| {p.name}", f"{p.compiler} {p.said}".strip()), "")
        for p in PLATFORMS
    ]
    return HEAD + "".join(rows)


def make_table(arguments):
    """Make the rows, as many at a time as there are processors; return the exit status."""
    chosen = [p for p in PLATFORMS if all(word in p.title for word in arguments.only.split())]
    results = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        bench = Bench(Path(folder), arguments.zig, chosen)
        for future in as_completed([pool.submit(bench.make, platform) for platform in chosen]):
            results.append(future.result())
            if arguments.write:
                write("platforms", merged(results))
    failed = sum(bool(result.wrong) for result in results)
    absent = sum(bool(result.absent) for result in results)
    checks = sum(sum(result.checks.values()) for result in results)
    print(f"{len(results)} rows, {checks} checks, {failed} failed, {absent} left out")
    return 1 if failed or not checks else 0


# ------------------------------------------------------------------ wheels


@dataclass(frozen=True)
class System:
    """A Debian of another architecture, for which there are wheels of NumPy."""

    debian: str
    suite: str
    python: str  # of the suite


SYSTEMS = {"aarch64": System("arm64", "bookworm", "3.11")}
PACKAGES = "python3,python3-venv,python3-dev,gcc,libc6-dev"
TOOLS = ("setuptools", "pytest", "hypothesis", "mpmath")
SUBJECTS = ("kernels", "determinism", "agreement", "io", "fit", "resume", "threads")


def mounts(root):
    """Return what a foreign system has of this one, and where: its cross compiler among others."""
    triplet = Path(os.path.realpath(root / "usr/bin/gcc")).name.rpartition("-gcc")[0]
    found = {name: shutil.which(f"{triplet}-{name}") for name in ("gcc", "as", "ld")}
    if not triplet or None in found.values():
        raise SystemExit(f"no {triplet}-gcc here")
    shared = ["/dev", "/lib64/ld-linux-x86-64.so.2"]
    shared += ["/usr/lib/x86_64-linux-gnu", "/usr/lib/gcc-cross", f"/usr/{triplet}"]
    pairs = [(Path(path), root / path[1:]) for path in shared]
    return pairs + [
        (Path(path).resolve(), Path(os.path.realpath(root / "usr/bin" / name)))
        for name, path in found.items()
    ]


def within(root, command, check=True):
    """Run a shell's command in a foreign system; return its status and what it printed."""
    lines = [f"mount -t proc proc {root}/proc"]
    for here, there in mounts(root):
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch() if here.is_file() else there.mkdir()
        lines.append(f"mount --rbind {here} {there}")
    enter = "\n".join([*lines, f'exec chroot {root} sh -c "$0"'])
    inside = f"cd /pycnn && {command}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", enter, inside],
        env={"PATH": "/venv/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise SystemExit(done.stdout[-4000:])
    return done.returncode, done.stdout


def make_root(architecture, root):
    """Make a Debian with a compiler and Python's environment in it, unless it is there."""
    system = SYSTEMS[architecture]
    if not (root / "venv" / "pyvenv.cfg").exists():
        command = ["debootstrap", f"--arch={system.debian}", "--variant=minbase"]
        subprocess.run([*command, f"--include={PACKAGES}", system.suite, root], check=True)
        (root / "pycnn").mkdir(exist_ok=True)
        within(root, "python3 -m venv /venv")
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    pip += [f"--python-version={system.python}", f"--dest={root / 'wheels'}"]
    pip += [f"--platform=manylinux_2_{minor}_{architecture}" for minor in range(17, 29)]
    pip += [f"--platform=manylinux2014_{architecture}"]
    subprocess.run([*pip, *TOOLS, *needed], check=True)
    within(root, f"pip install -q --upgrade --no-index --find-links=/wheels {' '.join(TOOLS)} cffi")


def copy_tree(folder):
    """Copy what git tracks, and what it would."""
    shutil.rmtree(folder)
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
    for name in names.decode().strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def build_wheel(root):
    """Build a wheel of this tree within a foreign system, install it, and say what it is."""
    copy_tree(root / "pycnn")
    build = "pip wheel -q --no-deps --no-build-isolation --wheel-dir=/wheels ."
    within(root, f"rm -f /wheels/pycnn-*; {build} && rm -rf build pycnn/_native*")
    (wheel,) = (root / "wheels").glob("pycnn-*.whl")
    index = "--no-index --find-links=/wheels --force-reinstall"
    within(root, f"pip install -q {index} /wheels/{wheel.name}")
    show = "import pycnn, numpy, sys; c = pycnn.config()"
    show += "; print(c['backend'], c['isa'], numpy.__version__, sys.version.split()[0])"
    _, printed = within(root, f'cd / && python -c "{show}"')
    backend, isa, numpy, python = printed.split()
    if backend != "c" or isa == "baseline":
        raise SystemExit(f"the wheel has no kernels: {printed}")
    return f"`{wheel.name}`: its {isa} kernels, Python {python}, NumPy {numpy}"


def run_tests(root, subject, options):
    """Run one file of tests; return whether it passed, its counts, and the minutes it took."""
    start = time.monotonic()
    command = f"PYTHONSAFEPATH=1 python -m pytest -q -p no:cacheprovider {shlex.join(options)}"
    status, output = within(root, f"{command} tests/test_{subject}.py", check=False)
    found = re.findall(r"(\d+) (passed|skipped|failed|error)", output.splitlines()[-1])
    counts = {word: int(count) for count, word in found}
    good = status == 0 and counts.get("passed", 0) > 0
    minutes = (time.monotonic() - start) / 60
    print(f"{'ok' if good else 'FAILED':8} {subject}: {counts}, {minutes:.1f} min", flush=True)
    if not good:
        print(output[-6000:], flush=True)
    return good, counts, minutes


def test_wheel(arguments):
    """Build, install and test a wheel within a foreign system; return the exit status."""
    architecture, subjects = arguments.wheel, arguments.subject
    if not Path(f"/proc/sys/fs/binfmt_misc/qemu-{architecture}").exists():
        raise SystemExit(f"the kernel does not call qemu for programs of {architecture}")
    with contextlib.ExitStack() as stack:
        root = arguments.root or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_root(architecture, root)
        text = f"{build_wheel(root)}, Debian {SYSTEMS[architecture].suite}, emulated.\n\n"
        print(text, flush=True)
        start = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(lambda s: run_tests(root, s, arguments.pytest), subjects))
        together = sum((Counter(counts) for _, counts, _ in results), Counter())
        results.append((True, together, (time.monotonic() - start) / 60))
    rows = [f"`test_{subject}.py`" for subject in subjects]
    rows.append(f"together, {os.cpu_count()} at a time")
    text += "| tests | passed | skipped | minutes |\n| --- | --: | --: | --: |\n"
    for row, (_, counts, minutes) in zip(rows, results, strict=True):
        text += f"| {row} | {counts.get('passed', 0)} | {counts.get('skipped', 0)} "
        text += f"| {minutes:.1f} |\n"
    print(text)
    failed = not all(good for good, _, _ in results)
    if arguments.write:
        if failed or arguments.pytest:
            raise SystemExit("not written: not all of it has passed")
        write(f"wheel {architecture}", text)
    return 1 if failed else 0


def main():
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows with all these words")
    parser.add_argument("--write", action="store_true", help="put it into docs/platforms.md")
    parser.add_argument("--zig", help="the command")
    parser.add_argument("--wheel", choices=list(SYSTEMS), help="test a wheel in an emulated Debian")
    parser.add_argument("--root", type=Path, help="where that Debian is kept, or made")
    parser.add_argument("--subject", nargs="+", default=SUBJECTS, help="tests/test_SUBJECT.py")
    parser.add_argument("pytest", nargs="*", help="behind --: what pytest is told besides")
    arguments = parser.parse_args()
    return test_wheel(arguments) if arguments.wheel else make_table(arguments)


if __name__ == "__main__":
    sys.exit(main())
