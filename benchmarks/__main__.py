"""Runs the benchmarks: ``python -m benchmarks`` from the root of the source tree."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine, report
from benchmarks.peers import PEERS
from benchmarks.worker import environment
from benchmarks.workloads import FAMILIES, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]


def _names(known: Sequence[str]) -> Any:
    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return read


def _workloads(text: str) -> list[str]:
    """Read names of workloads, and of families, which mean all of theirs."""
    names = []
    for name in _names((*WORKLOADS, *FAMILIES))(text):
        own = [one for one, workload in WORKLOADS.items() if workload.family == name]
        names += own or [name]
    return names


def _thread_counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("threads must be at least 1")
    return counts


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    read = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = read.add_argument
    add("--workloads", type=_workloads, default=list(WORKLOADS), metavar="rows,C1,...",
        help=f"of {', '.join(WORKLOADS)}; rows: all that start with T or I; layers: the others, of "
        "images and sequences (default: all)")  # fmt: skip
    add("--peers", type=_names(tuple(PEERS)), metavar="numpy,jax,...",
        help=f"of {', '.join(PEERS)}; pycnn itself always takes part (default: all, but with "
        "--quick not torch-compiled, which takes minutes to compile)")  # fmt: skip
    add("--threads", type=_thread_counts, default=[1, 2], metavar="1,2", help="default: 1,2")
    add("--repeats", type=int, default=5, help="turns of each peer (default: 5)")
    add("--seconds", type=float, default=0.3, help="of a turn, about (default: 0.3)")
    add("--processes", type=int, default=1,
        help="how many measure: the first all peers, the others who was near to the fastest in it; "
        "with several each has one figure, the best of its turns (default: 1)")  # fmt: skip
    add("--isa", help="instruction set that pycnn is held to: avx512, avx2, neon, baseline")
    add("--quick", action="store_true",
        help="two short turns on less data: to see that all works")  # fmt: skip
    add("--out", type=Path, default=Path(__file__).with_name("results"),
        help="folder for results.json, results.md and results.png")  # fmt: skip
    add("--redraw", action="store_true", help="only redraw table and chart from results.json")
    add("--document", type=Path, metavar="FILE",
        help="also put the table between this file's markers, and the chart of rows beside it "
        "(with --isa: only the first table, between markers of its own)")  # fmt: skip
    return read


def _lines_of_worker(
    options: argparse.Namespace, threads: int, orders: dict[str, dict[str, int | None]]
) -> Iterator[dict[str, Any]]:
    """Yield what a process with so many threads measures, as it comes.

    `orders` has the peers at each workload, with the epochs of a turn where they are known.
    """
    given = {
        "threads": threads,
        "workloads": orders,
        "quick": options.quick,
        "repeats": 2 if options.quick else options.repeats,
        "slice_seconds": 0.05 if options.quick else options.seconds,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker", json.dumps(given)],
        env=environment(threads, options.isa),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode:
        print(f"the process with {threads} threads ended with {process.returncode}; what it had "
              "measured is kept", file=sys.stderr)  # fmt: skip


def _first_orders(options: argparse.Namespace) -> dict[str, dict[str, int | None]]:
    peers = options.peers
    if peers is None:
        peers = [name for name in PEERS if not (options.quick and name == "torch-compiled")]
    everyone = dict.fromkeys(["pycnn", *peers])
    return dict.fromkeys(options.workloads, everyone)


def _measure(options: argparse.Namespace, threads: int, record: dict[str, Any]) -> None:
    """Measure with so many threads, in as many processes as are wanted, one after the other."""
    results: dict[str, dict[str, Any]] = {}
    orders = _first_orders(options)
    for number in range(options.processes):
        for line in _lines_of_worker(options, threads, orders):
            if "limits" in line:
                record["limits"].setdefault(str(threads), line["limits"])
                continue
            result = line["result"]
            if number == 0:
                results[result["workload"]] = result
                print(report.progress_line(result), file=sys.stderr)
            else:
                report.add(results[result["workload"]], result)
        if number == 0:
            orders = {name: report.leaders(result) for name, result in results.items()}
        else:
            print(f"process {number + 1} of {options.processes} is done", file=sys.stderr)
    record["results"] += results.values()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; say on standard error how it goes."""
    start = time.perf_counter()
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": options.quick,
        "isa": options.isa,
        "processes": options.processes,
        "machine": machine.describe(),
        "limits": {},
        "results": [],
    }
    for threads in options.threads:
        if threads > record["machine"]["cpus"]:
            print(f"skipped {threads} threads: fewer CPUs than that", file=sys.stderr)
            continue
        _measure(options, threads, record)
    return record | {"seconds": time.perf_counter() - start, "load_after": os.getloadavg()[0]}


def main() -> None:
    """Measure, then write the record, the table and the chart."""
    options = parser().parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    if options.redraw:
        record = json.loads(path.read_text(encoding="utf-8"))
    else:
        record = run(options)
        if not record["results"]:
            sys.exit("nothing was measured")
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.out / "results.md").write_text(report.table(record), encoding="utf-8")
    report.draw(record, options.out / "results.png")
    if options.document is not None:
        report.put_into(options.document, record)
    print(report.summary(record))


if __name__ == "__main__":
    main()
