"""What the repository around the package has: the page, the licences, the version.

The page's core is that of the version beside it, so that one seed means the same bits in both.
"""

import runpy
import shutil
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TAKEN = {
    "web/dist/pycnn.html": "pycnn_playground",
    "LICENSE": ".",
    "pycnn/datasets/LICENSE-digits.txt": ".",
}

for source, folder in TAKEN.items():
    if not (ROOT / source).exists():
        raise SystemExit(f"{ROOT / source} is missing: web/README.md tells how it is built")
    shutil.copy(ROOT / source, HERE / folder)

version = runpy.run_path(str(ROOT / "pycnn" / "_version.py"))["__version__"]
setup(version=version, install_requires=[f"pycnn[cli]=={version}"])
