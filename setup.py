"""Only what pyproject.toml cannot say: the cffi module, the wheel's ABI tag, the compiler."""

import os
import shutil
import sys
import sysconfig

from setuptools import setup
from setuptools.command.build_ext import build_ext as _build_ext

PURE = os.environ.get("PYCNN_NO_EXTENSION", "") not in ("", "0")

if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    # 3.15 names the file .abi3-<platform>.so, which older Pythons cannot import.
    ABI = "cp311" if sys.version_info < (3, 15) else "cp315"
elif sys.version_info >= (3, 15):
    ABI = "cp315"  # cp315-abi3.abi3t
else:
    ABI = None  # cp314-cp314t

NO_COMPILER = """
pycnn could not compile its C core:

    {error}

It needs a C compiler and Python's headers:

    Debian, Ubuntu    apt-get install build-essential python3-dev
    Fedora, RHEL      dnf install gcc python3-devel
    Alpine            apk add build-base python3-dev
    macOS             xcode-select --install
    Windows           Visual Studio Build Tools ("Desktop development with C++")

To install the slower pure-Python package instead, set PYCNN_NO_EXTENSION=1.
"""


class build_ext(_build_ext):
    """Compiles with clang-cl on Windows where it is installed; says what to do when it fails."""

    TARGETS = {"win-amd64": "x86_64-pc-windows-msvc", "win-arm64": "aarch64-pc-windows-msvc"}

    def build_extensions(self):
        if self.compiler.compiler_type == "msvc" and os.environ.get("PYCNN_USE_CL") != "1":
            self.use_clang_cl()
        super().build_extensions()

    def use_clang_cl(self):
        compiler = self.compiler
        if not compiler.initialized:
            compiler.initialize(self.plat_name)
        clang_cl = shutil.which("clang-cl") or r"C:\Program Files\LLVM\bin\clang-cl.exe"
        if not os.path.exists(clang_cl) or self.plat_name not in self.TARGETS:
            return
        compiler.cc = clang_cl
        compiler.compile_options = [o for o in compiler.compile_options if o != "/GL"]
        compiler.compile_options.append("--target=" + self.TARGETS[self.plat_name])
        for flags in compiler._ldflags.values():
            flags[:] = [f for f in flags if f != "/LTCG"]

    def run(self):
        try:
            super().run()
        except Exception as error:
            raise SystemExit(NO_COMPILER.format(error=error)) from error


options = {} if PURE or ABI is None else {"bdist_wheel": {"py_limited_api": ABI}}
if PURE:
    setup()
else:
    setup(
        cffi_modules=["build_ffi.py:ffi"],
        cmdclass={"build_ext": build_ext},
        options=options,
    )
