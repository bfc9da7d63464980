"""Only what pyproject.toml cannot say.

The cffi module, the wheel's ABI tag, the compiler; the core's source beside the package; an sdist
whose bytes follow from its files; the README with links that work outside of the repository.
"""

import gzip
import os
import re
import runpy
import shutil
import sys
import sysconfig
import tarfile
import time
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py
from setuptools.command.sdist import sdist as _sdist

PURE = os.environ.get("PYCNN_NO_EXTENSION", "") not in ("", "0")

if sys.platform == "emscripten" or "PYODIDE" in os.environ:
    ABI = None  # Pyodide's wheels are for one Python each
elif not sysconfig.get_config_var("Py_GIL_DISABLED"):
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
        if self.compiler.compiler_type == "msvc" and not self.use_clang_cl():
            for extension in self.extensions:
                for_cl = [o for o in extension.extra_compile_args if not o.startswith("/clang:")]
                extension.extra_compile_args = for_cl
        super().build_extensions()

    def use_clang_cl(self):
        if os.environ.get("PYCNN_USE_CL") == "1":
            return False
        compiler = self.compiler
        if not compiler.initialized:
            compiler.initialize(self.plat_name)
        clang_cl = shutil.which("clang-cl") or r"C:\Program Files\LLVM\bin\clang-cl.exe"
        if not os.path.exists(clang_cl) or self.plat_name not in self.TARGETS:
            if os.environ.get("PYCNN_REQUIRE_CLANG_CL", "") not in ("", "0"):
                raise RuntimeError(f"no clang-cl for {self.plat_name}: the kernels need it")
            return False
        compiler.cc = clang_cl
        compiler.compile_options = [o for o in compiler.compile_options if o != "/GL"]
        compiler.compile_options.append("--target=" + self.TARGETS[self.plat_name])
        for flags in compiler._ldflags.values():
            flags[:] = [f for f in flags if f != "/LTCG"]
        return True

    def run(self):
        try:
            super().run()
        except Exception as error:
            raise SystemExit(NO_COMPILER.format(error=error)) from error


class build_py(_build_py):
    """Puts the core, as one file and its header, where pycnn.get_include() says.

    A wheel has little room: who reads the core finds its comments in csrc/.
    """

    def run(self):
        folder = Path("pycnn/include")
        folder.mkdir(exist_ok=True)
        runpy.run_path("scripts/amalgamate.py")["write"](folder, comments=False)
        super().run()


class sdist(_sdist):
    """Writes an archive that depends on nothing but the files, and on SOURCE_DATE_EPOCH."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, **_):
        if format != "gztar" or root_dir is not None:
            raise ValueError("an sdist is a .tar.gz")
        date = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))

        def plain(member):
            member.mtime, member.uid, member.gid = date, 0, 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        path = Path(f"{base_name}.tar.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", mtime=date, fileobj=file) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=plain)  # folders in the order of their names
        return str(path)


def readme():
    """Return README.md, its relative links those of this version in the repository."""
    with open("pyproject.toml", "rb") as file:
        source = tomllib.load(file)["project"]["urls"]["Source"]
    version = runpy.run_path("pycnn/_version.py")["__version__"]
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\])\((?!https?:)", rf"\1({source}/raw/v{version}/", text)
    return re.sub(r"\]\((?!https?:|#)", f"]({source}/blob/v{version}/", text)


settings = {
    "cmdclass": {"build_py": build_py, "sdist": sdist},
    "long_description": readme(),
    "long_description_content_type": "text/markdown",
}
if not PURE:
    settings["cmdclass"]["build_ext"] = build_ext
    settings["cffi_modules"] = ["build_ffi.py:ffi"]
    if ABI is not None:
        settings["options"] = {"bdist_wheel": {"py_limited_api": ABI}}
setup(**settings)
