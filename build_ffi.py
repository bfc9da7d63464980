"""Builds ``pycnn._native`` with cffi (API mode); setup.py names it in ``cffi_modules``.

The declarations come from the marked part of ``csrc/pycnn.h``: there is no second copy to drift.
"""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

CORE = Path("csrc")  # relative: setuptools wants it so, and runs this file from the project's root

header = (CORE / "pycnn.h").read_text(encoding="utf-8")
declarations = re.search(r"/\* cdef: begin \*/(.*?)/\* cdef: end \*/", header, re.S)
if declarations is None:
    raise SystemExit("csrc/pycnn.h has lost its 'cdef: begin' and 'cdef: end' marks")


def predefined_macros():
    """Return what the compiler says of the machine and its options, or nothing without one."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [*shlex.split(compiler), *shlex.split(os.environ.get("CFLAGS", ""))]
    try:
        done = subprocess.run(
            [*command, "-dM", "-E", "-xc", os.devnull], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout


def options(platform, macros=""):
    """Return the compiler's options and the linker's: for gcc and clang, and on Windows clang-cl.

    A multiply-add is fused where it is written, and nothing is reordered: these options come behind
    those of CFLAGS, and are said to the linker too, which -Ofast and -funsafe-math-optimizations
    have add code that rounds small numbers to zero in all of the process.
    """
    exact = ["-ffp-contract=off", "-fno-fast-math", "-fno-unsafe-math-optimizations"]
    if platform == "win32":
        return ["/O2", "/std:c11", *(f"/clang:{option}" for option in exact)], []
    compile_args = ["-std=gnu11", "-O3", *exact, "-fvisibility=hidden"]
    if " __GNUC__ " in macros and " __clang__ " not in macros:
        # As fast as -O3, which copies loops and functions for cases of them, in four fifths of it.
        compile_args[1:2] = [
            "-O2",
            "-fgcse-after-reload",
            "-fpeel-loops",
            "-fpredictive-commoning",
            "-ftree-partial-pre",
            "-fvect-cost-model=dynamic",
        ]
    compile_args.append("-Werror=incompatible-pointer-types")
    if " __i386__ " in macros and " __SSE2_MATH__ " not in macros:  # x87 rounds to 64 bits
        compile_args += ["-msse2", "-mfpmath=sse"]
    if platform == "emscripten":  # no threads
        return compile_args, ["-lm"]
    link_args = ["-O3", *exact, "-pthread", "-lm"]
    if macros and not all(f"_COMPARE_AND_SWAP_{size} " in macros for size in (1, 8)):
        link_args.append("-latomic")
    return compile_args, link_args


pyodide = sys.platform == "emscripten" or "PYODIDE" in os.environ
compile_args, link_args = options(
    "emscripten" if pyodide else sys.platform,
    "" if sys.platform == "win32" else predefined_macros(),
)
if sys.platform != "win32" and not pyodide and "PYCNN_CFLAGS" not in os.environ:
    # Who debugs, or looks for mistakes, wants the symbols and the way back through calls; Pyodide's
    # linker strips by itself.
    compile_args.append("-fno-asynchronous-unwind-tables")
    link_args.append("-Wl,-x" if sys.platform == "darwin" else "-Wl,-s")
compile_args += os.environ.get("PYCNN_CFLAGS", "").split()
link_args += os.environ.get("PYCNN_LDFLAGS", "").split()

ffi = FFI()
ffi.cdef(re.sub(r"PYCNN_API\s+", "", declarations.group(1)))
# What the core calls in Python: pycnn/backend/c.py defines pycnn_call_loss, pycnn_call_poll.
for name in ("loss", "poll"):
    kind = re.search(rf"typedef int pycnn_{name}_function(\(.*?\);)", declarations.group(1), re.S)
    assert kind is not None
    ffi.cdef(f'extern "Python" int pycnn_call_{name}{kind.group(1)}')
# A step of a trainer: to convert one pointer takes cffi less time than seven, and a number that is
# returned less than two that are read.
BATCH_CALL = """
typedef struct {
    double *theta;
    size_t theta_size;
    pycnn_training *state;
    double *kept;
    const pycnn_network *net;
    pycnn_workspace *ws;
    const pycnn_dataset *data;
    int status;
    size_t steps; /* that were done */
} pycnn_batch_call;
"""
ffi.cdef(BATCH_CALL + "double pycnn_call_train_batch(pycnn_batch_call *call);")
TRAIN_BATCH = """
/* The mean loss; NAN where nothing has a weight, or the status says why there was no step. */
static double pycnn_call_train_batch(pycnn_batch_call *call)
{
    call->status = pycnn_train_batch(call->theta, call->theta_size, call->state, call->kept,
                                     call->net, call->ws, call->data);
    if (call->status != PYCNN_OK) {
        return NAN;
    }
    call->steps++;
    const pycnn_totals *totals = call->state->totals;
    return totals->weight > 0 ? totals->loss / totals->weight : NAN;
}
"""
ffi.set_source(
    "pycnn._native",
    '#include "pycnn.h"\n#include <math.h>\n' + BATCH_CALL + TRAIN_BATCH,
    # Python has its own reader of model files.
    sources=sorted(p.as_posix() for p in CORE.glob("*.c") if p.name != "pycnn_file.c"),
    depends=[*sorted(path.as_posix() for path in CORE.glob("*.h")), "build_ffi.py"],
    include_dirs=[CORE.as_posix()],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    **({"py_limited_api": False} if pyodide else {}),
)
