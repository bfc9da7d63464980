"""Try the core with options that change arithmetic elsewhere: one hash, or a refusal.

    python scripts/flags.py [COMPILER ...]      gcc and clang where no other is named

The files are compiled as by hand, with nothing but these options, and run tests/c/hash_run.c with
each instruction set of this processor. A build has passed where all trainings end in the stored
hashes (tests/test_kernels.py), and is as good where it is refused with a sentence, by the compiler
or where a network is made. CFLAGS of a wheel come before what build_ffi.py says, which undoes them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from platforms import arithmetic, lines_of, stored_hashes

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "",
    "-O0",
    "-O1",
    "-O2",
    "-O3",
    "-Os",
    "-O2 -march=native",
    "-O3 -march=native -flto",
    "-O2 -mfma",
    "-O2 -ffp-contract=fast",
    "-O2 -ffp-contract=fast -march=native",
    "-O2 -fno-signed-zeros -fno-trapping-math -fno-math-errno",
    "-O2 -fassociative-math -fno-signed-zeros -fno-trapping-math",
    "-O2 -freciprocal-math",
    "-O2 -ffinite-math-only",
    "-O2 -funsafe-math-optimizations",
    "-O2 -ffast-math",
    "-Ofast",
    "-O2 -ffast-math -fno-fast-math",
    "-O2 -flto",
    "-x c++ -O2",
]


def attempt(compiler, flags, program):
    """Return whether a build is good, and what it came to."""
    sources = [*sorted((ROOT / "csrc").glob("*.c")), ROOT / "tests/c/hash_run.c"]
    command = [compiler, *flags.split(), "-w", f"-I{ROOT / 'csrc'}", *sources, "-o", program]
    built = subprocess.run(
        [*command, "-pthread", "-lm"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        sentence = re.search(r'pycnn needs [^"\n]*', built.stderr)
        return sentence is not None, sentence[0] if sentence else built.stderr[-200:]
    found = []
    for isa in ("avx512", "avx2", "neon", "baseline"):
        ran = subprocess.run(
            [program, "2"],
            env=os.environ | {"PYCNN_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = ran.stdout.splitlines()
        if "PYCNN_ISA must name" in lines[-1]:  # not on this processor
            continue
        wanted = lines_of(isa, stored_hashes()[arithmetic(isa)])
        last = lines[-len(wanted) :]
        refused = "options that change its arithmetic" in last[-1]
        said = "refused when it runs" if refused else ", ".join(last)
        found.append((refused or last == wanted, said))
    return all(good for good, _ in found), ", ".join(dict.fromkeys(said for _, said in found))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("compilers", nargs="*", metavar="COMPILER")
    compilers = parser.parse_args().compilers
    compilers = compilers or [name for name in ("gcc", "clang") if shutil.which(name)]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for compiler in compilers:
            for flags in FLAGS:
                good, said = attempt(compiler, flags, Path(folder, "hash_run"))
                wrong += not good
                print(f"{'ok' if good else 'WRONG':6} {compiler} {flags}: {said}", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
