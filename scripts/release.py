"""Check that everything that names the version names the tag's; else there is no release.

    python scripts/release.py v0.2.0

The package, the C header, Meson's file, the changelog's newest heading (a version, and maybe a
date: no longer "unreleased") and the conda recipe have to agree with the tag. Prints what does not,
with status 1.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "pycnn/_version.py": r'^__version__ = "(.*)"$',
    "csrc/pycnn.h": r'^#define PYCNN_VERSION "(.*)"$',
    "meson.build": r"^  version: '(.*)',$",
    "CHANGELOG.md": r"^## (.*?)(?: \(\d{4}-\d\d-\d\d\))?$",
    "packaging/conda/recipe.yaml": r'^  version: "(.*)"$',
}


def problems(tag, root=ROOT):
    """Return what keeps `tag` from being a release of the tree in `root`, a line each."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+((a|b|rc)\d+)?", tag):
        return [f"{tag!r} is no tag of a release, such as v1.2.3"]
    found = []
    for path, pattern in PLACES.items():
        match = re.search(pattern, (root / path).read_text(encoding="utf-8"), re.M)
        version = match[1] if match else None
        if version != tag[1:]:
            found.append(f"{path} says {version!r}, the tag {tag[1:]!r}")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    wrong = problems(sys.argv[1])
    print(*wrong or [f"{sys.argv[1]}: all agree"], sep="\n")
    sys.exit(bool(wrong))
