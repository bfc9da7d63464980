"""Ask pip what can be installed without a compiler: Pythons by platforms, as a table.

    python scripts/dependencies.py [--python 3.14t ...] [--platform win_arm64 ...]

For each pair pip resolves pycnn's run-time dependencies from wheels alone, as
`pip download --only-binary=:all:` does, but reads the wheels' metadata and not the wheels. A pair
that does not resolve names what has no wheel there, and the status is 1, as it is where there are
wheels of nothing but a preview. Needs pip 25 or later, which asks for other Pythons than its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.14t", "3.15", "3.15t")
PLATFORMS = {  # what an ordinary machine of today takes, the oldest tags behind
    "manylinux_x86_64": [f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)],
    "manylinux_aarch64": [f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)],
    "musllinux_x86_64": ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"],
    "musllinux_aarch64": ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"],
    "macosx_arm64": ["macosx_14_0_arm64"],
    "macosx_x86_64": ["macosx_14_0_x86_64"],
    "win_amd64": ["win_amd64"],
    "win_arm64": ["win_arm64"],
}
for name, tags in PLATFORMS.items():
    if name.startswith("manylinux"):  # the older name of 2.17
        tags.append("manylinux2014_" + name.removeprefix("manylinux_"))


def ask(requirements, python, platform, folder):
    """Return the releases that pip would install, or None."""
    number = python.rstrip("t").replace(".", "")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", "--report=-", f"--target={folder}"]
    command += [f"--python-version={number}", "--implementation=cp", f"--abi=cp{number}"]
    if python.endswith("t"):
        command[-1] += "t"
    command += [f"--platform={tag}" for tag in PLATFORMS[platform]]
    done = subprocess.run(
        [*command, *requirements],
        capture_output=True,
        text=True,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    if done.returncode and "No matching distribution" not in done.stderr:
        raise SystemExit(done.stderr)
    if done.returncode:
        return None
    found = (item["metadata"] for item in json.loads(done.stdout)["install"])
    return {item["name"]: item["version"] for item in found}


def main():
    """Print the table; return 1 where something does not resolve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS, choices=PYTHONS)
    parser.add_argument("--platform", nargs="+", default=list(PLATFORMS), choices=list(PLATFORMS))
    arguments = parser.parse_args()
    if int(version().split(".")[0]) < 25:
        parser.error(f"it needs pip 25 or later, and this is {version()}")
    with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:

        def cell(pair):
            platform, python = pair
            found = ask(needed, python, platform, folder)
            if found is not None:
                text = " ".join(f"{name} {found[name]}" for name in sorted(found))
                early = any(char.isalpha() for char in "".join(found.values()))
                return text + early * ", a preview", not early
            lacks = [one for one in needed if ask([one], python, platform, folder) is None]
            return "no wheel: " + (", ".join(lacks) or "together"), False

        pairs = list(product(arguments.platform, arguments.python))
        cells = list(pool.map(cell, pairs))
    print("| platform | Python | what pip installs |\n| --- | --- | --- |")
    for (platform, python), (text, _) in zip(pairs, cells, strict=True):
        print(f"| {platform} | {python} | {text} |")
    count = sum(good for _, good in cells)
    print(f"\n{count} of {len(cells)} resolve, by pip {version()}")
    return 0 if count == len(cells) else 1


def version():
    """Return pip's version."""
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE)
    return done.stdout.decode().split()[1]


if __name__ == "__main__":
    sys.exit(main())
