"""Measures what docs/performance.md shows, and puts it there: ``python -m benchmarks.publish``.

All tables are of one run then, on one machine. The figures of tables with other instructions are
pycnn's own; its peers choose theirs by themselves, and have the times of the first tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import __main__ as benchmarks
from benchmarks import calls, machine, online, report
from benchmarks.workloads import FAMILIES, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
PARTS = (*FAMILIES, "avx2", "calls")
LEFT_OUT = "torch-compiled"  # it takes minutes to compile, and is nowhere the fastest
OURS = "pycnn,pycnn-bound,pycnn-frozen"


def _run(threads: int, names: Sequence[str], *more: str) -> dict[str, Any]:
    words = [f"--threads={threads}", f"--workloads={','.join(names)}", *more]
    return benchmarks.run(benchmarks.parser().parse_args(words))


def _joined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one record of what several have measured."""
    first = records[0]
    for other in records[1:]:
        first["limits"] |= other["limits"]
        first["results"] += other["results"]
        first["seconds"] += other["seconds"]
        first["load_after"] = other["load_after"]
    return first


def _measure(family: str, processes: int, isa: str | None = None) -> dict[str, Any]:
    """Measure a family: on one thread, and rows whose work is shared on two."""
    names = [name for name, workload in WORKLOADS.items() if workload.family == family]
    peers = OURS if isa else ",".join(name for name in benchmarks.PEERS if name != LEFT_OUT)
    how = [f"--peers={peers}", "--seconds=0.15", *([f"--isa={isa}"] if isa else [])]
    if family == "layers":
        return _run(1, names, "--repeats=2", *how)
    how += ["--repeats=1", f"--processes={processes}"]
    shared = [name for name in names if 2 in WORKLOADS[name].goals]
    return _joined([_run(1, names, *how), _run(2, shared, *how)])


def _with_peers(own: dict[str, Any], all_of_them: dict[str, Any]) -> dict[str, Any]:
    """Return a record of ours beside the peers of another one."""
    for result in own["results"]:
        for other in all_of_them["results"]:
            if all(result[key] == other[key] for key in ("workload", "threads")):
                result["peers"] = other["peers"] | result["peers"]
    return own


def main() -> None:
    """Measure, and write the document's tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    parts, document, start = options.parts.split(","), options.document, time.perf_counter()
    out = Path(__file__).with_name("results")
    out.mkdir(exist_ok=True)
    for family in FAMILIES:
        if family not in parts:
            continue
        record = _measure(family, options.processes)
        report.put_into(document, record)
        (out / f"{family}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if "avx2" in parts and "avx512" in machine.instruction_sets():
            held = _with_peers(_measure(family, options.processes, "avx2"), record)
            report.put_into(document, held)
    if "calls" in parts:
        report.replace(document, "benchmarks, calls from Python", online.table(options.processes))
        report.replace(document, "benchmarks, calls from C", calls.tables(turns=80, seconds=0.003))
    print(f"{(time.perf_counter() - start) / 60:.0f} minutes", file=sys.stderr)


if __name__ == "__main__":
    main()
