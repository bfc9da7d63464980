"""Build sdist and wheel twice, in two places and at two times: the bytes must be the same.

    python scripts/reproducible.py [--keep FOLDER] [--sdist-only]

Needs setuptools and cffi, no network. The sdist is made from copies of what git tracks, and must
hold all of that but what belongs to the place where it is developed; the wheel is made from the
sdist. Both take the date of the last commit, unless SOURCE_DATE_EPOCH says. Prints the hashes.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".ci/", ".github/", ".clang-format", ".gitignore")
# What builds, tests and tools leave behind; nothing with a dot in front belongs into the sdist.
BUILT = re.compile(
    r"^(build|dist|venv)/|\.egg-info/|__pycache__|\.(so|pyd|o)$|^pycnn/_native\.c$|^pycnn/include/|(^|/)\."
)
BACKEND = "import sys; from setuptools import build_meta; print(build_meta.{}(sys.argv[1]))"


def tracked():
    """Return the paths that git tracks or would; without git, all but what a build left behind."""
    if (ROOT / ".git").exists():
        listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
        found = names.decode().strip("\0").split("\0")
    else:
        found = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
        found = [path for path in found if not BUILT.search(path)]
    return sorted(path for path in found if (ROOT / path).exists())


def date():
    """Return the seconds that the builds take for their time."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    log = ("git", "log", "-1", "--format=%ct")
    done = subprocess.run(log, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "1767225600"


def build(what, tree, out):
    """Call one hook of the build's backend; return the path of what it made."""
    out.mkdir()
    environment = os.environ | {"SOURCE_DATE_EPOCH": date(), "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, "-W", "ignore", "-c", BACKEND.format(f"build_{what}"), out)
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return out / done.stdout.splitlines()[-1]


def copies(folder):
    """Yield two copies of the tree, in folders of unlike length."""
    names = tracked()
    for name in ("first", "a-folder-of-another-length"):
        tree = folder / name / "tree"
        for path in names:
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, tree / path)  # and not its time
            (tree / path).chmod((ROOT / path).stat().st_mode)
        yield tree


def unpacked(sdist, folder):
    """Return the one folder within an sdist, unpacked."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    return tree


def main():
    """Build, compare, print; return 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for the sdist and the wheel")
    parser.add_argument("--sdist-only", action="store_true", help="compile nothing")
    arguments = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        built = {}
        for tree in copies(Path(name)):
            sdist = build("sdist", tree, tree.parent / "sdist")
            built.setdefault("sdist", []).append(sdist)
            if not arguments.sdist_only:
                source = unpacked(sdist, tree.parent / "unpacked")
                built.setdefault("wheel", []).append(build("wheel", source, tree.parent / "wheel"))
        for first, second in built.values():
            digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
            print(digests[0], first.stat().st_size, first.name)
            if digests[0] != digests[1]:
                wrong.append(f"{first.name}: two builds differ")
            if arguments.keep is not None:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(first, arguments.keep)
        with tarfile.open(built["sdist"][0]) as archive:
            held = {member.partition("/")[2] for member in archive.getnames()}
        missing = [p for p in tracked() if p not in held and not p.startswith(LEFT_OUT)]
        wrong += [f"the sdist lacks {path}" for path in missing]
    print(*wrong or ["the same twice"], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
