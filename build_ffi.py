"""Builds ``pycnn._native`` with cffi (API mode); setup.py names it in ``cffi_modules``.

The declarations come from the marked part of ``csrc/pycnn.h``: there is no second copy to drift.
"""

import os
import re
import sys
from pathlib import Path

from cffi import FFI

CORE = Path("csrc")  # relative: setuptools wants it so, and runs this file from the project's root

header = (CORE / "pycnn.h").read_text(encoding="utf-8")
declarations = re.search(r"/\* cdef: begin \*/(.*?)/\* cdef: end \*/", header, re.S)
if declarations is None:
    raise SystemExit("csrc/pycnn.h has lost its 'cdef: begin' and 'cdef: end' marks")

pyodide = sys.platform == "emscripten" or "PYODIDE" in os.environ
if sys.platform == "win32":
    compile_args, link_args = ["/O2", "/std:c11"], []
else:
    # Fused multiply-adds are written where they are meant, never made by the compiler.
    compile_args = [
        "-std=gnu11",
        "-O3",
        "-fvisibility=hidden",
        "-ffp-contract=off",
        "-Werror=incompatible-pointer-types",
    ]
    link_args = ["-pthread", "-lm"]
    if "PYCNN_CFLAGS" not in os.environ:  # who debugs, or looks for mistakes, wants the symbols
        link_args.append("-Wl,-x" if sys.platform == "darwin" else "-Wl,-s")
if pyodide:  # no threads; its linker strips by itself
    link_args = ["-lm"]
compile_args += os.environ.get("PYCNN_CFLAGS", "").split()
link_args += os.environ.get("PYCNN_LDFLAGS", "").split()

ffi = FFI()
ffi.cdef(re.sub(r"PYCNN_API\s+", "", declarations.group(1)))
# What the core calls in Python: pycnn/backend/c.py defines pycnn_call_loss, pycnn_call_poll.
for name in ("loss", "poll"):
    kind = re.search(rf"typedef int pycnn_{name}_function(\(.*?\);)", declarations.group(1), re.S)
    assert kind is not None
    ffi.cdef(f'extern "Python" int pycnn_call_{name}{kind.group(1)}')
ffi.set_source(
    "pycnn._native",
    '#include "pycnn.h"\n',
    sources=sorted(path.as_posix() for path in CORE.glob("*.c")),
    depends=[*sorted(path.as_posix() for path in CORE.glob("*.h")), "build_ffi.py"],
    include_dirs=[CORE.as_posix()],
    extra_compile_args=compile_args,
    extra_link_args=link_args,
    **({"py_limited_api": False} if pyodide else {}),
)
