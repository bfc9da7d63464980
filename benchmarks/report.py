"""Turns a record of measurements into a table and a chart."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

# One colour for pycnn, one for the fastest peer, one for the others; fewer threads are paler.
COLOURS = {"pycnn": "#c2410c", "best": "#1d4ed8", "other": "#94a3b8"}
PALE, FULL = 0.55, 1.0


def _is_ours(name: str) -> bool:
    return name.startswith("pycnn")


def _ours(result: dict[str, Any]) -> str:
    """Return the name of our fastest way."""
    peers = result["peers"]
    able = [name for name in peers if _is_ours(name) and peers[name]["agrees"]]
    return min(able, key=lambda name: peers[name]["best"])


def _best_peer(result: dict[str, Any], precision: str = "float64") -> str | None:
    """Return the fastest peer's name, if any took part whose results are right."""
    peers = result["peers"]
    able = [
        name
        for name, peer in peers.items()
        if not _is_ours(name) and peer["agrees"] and peer["precision"] == precision
    ]
    return min(able, key=lambda name: peers[name]["best"], default=None)


def _versus(result: dict[str, Any], precision: str) -> list[str]:
    """Return the cells about the fastest peer: its name, its time, its time over ours."""
    best = _best_peer(result, precision)
    if best is None:
        return ["–"] * 3
    peer, own = result["peers"][best], result["peers"][_ours(result)]
    title, ratio = peer["title"].partition(", float32")[0], peer["best"] / own["best"]
    reached = precision == "float64" and ratio >= (_goal(result) or 1)
    return [title, duration(peer["best"]), f"**{_times(ratio)}**" if reached else _times(ratio)]


# Peers that take less than so many times the fastest one's time are measured in each process.
NEAR = 1.5


def leaders(result: dict[str, Any]) -> dict[str, int]:
    """Return who is near to the fastest, and our own ways, with the epochs of their turns."""
    peers, single = result["peers"], ("float64", "float32")
    best = [peers[name]["best"] for kind in single if (name := _best_peer(result, kind))]
    least = NEAR * max(best, default=0.0)
    return {
        name: peer["epochs"]
        for name, peer in peers.items()
        if _is_ours(name) or (peer["agrees"] and peer["best"] <= least)
    }


def add(result: dict[str, Any], other: dict[str, Any]) -> None:
    """Add what another process has measured: each process has one figure, its best."""
    result["peak"] += other["peak"]
    for name, peer in other["peers"].items():
        own = result["peers"][name]
        own.setdefault("processes", [own["best"]]).append(peer["best"])
        own["best"], own["worst"] = min(own["processes"]), max(own["processes"])
        own["median"] = statistics.median(own["processes"])


def _goal(result: dict[str, Any]) -> float | None:
    return WORKLOADS[result["workload"]].goals.get(result["threads"])


def duration(seconds: float) -> str:
    """Write a time with three digits and a unit.

    Examples
    --------
    >>> duration(0.00118), duration(1.44e-6), duration(0.0537)
    ('1.18 ms', '1.44 µs', '53.7 ms')
    """
    units = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((unit for unit, size in units.items() if seconds >= size), "µs")
    value = seconds / units[unit]
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f} {unit}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 9.995 else f"{ratio:.0f}×"


def _peak(record: dict[str, Any], threads: int) -> float | None:
    """Return the highest FMA peak that was seen with so many threads, in GFLOP/s."""
    limits = record["limits"].get(str(threads)) or {"peak": {}}
    seen = list(limits["peak"].values())
    seen += [peak for r in record["results"] if r["threads"] == threads for peak in r["peak"]]
    return max(seen, default=None)


def progress_line(result: dict[str, Any]) -> str:
    """Say in a line what one workload came to."""
    ours, best = _ours(result), _best_peer(result)
    text = f"{result['workload']:<7}{result['threads']} thr. "
    text += f"{result['peers'][ours]['title']:<13}{duration(result['peers'][ours]['best']):>9}"
    if best is not None:
        peer = result["peers"][best]
        ratio = peer["best"] / result["peers"][ours]["best"]
        text += f"   {_times(ratio):>6}   {peer['title']:<18}{duration(peer['best']):>9}"
    wrong = [peer["title"] for peer in result["peers"].values() if not peer["agrees"]]
    if wrong:
        text += f"   disagrees: {', '.join(wrong)}"
    return f"{text}   ({result['seconds']:.0f} s)"


def summary(record: dict[str, Any]) -> str:
    """Return the first table: pycnn against the fastest peer, a row for each workload."""
    results = sorted(record["results"], key=_order)
    single = any(_best_peer(result, "float32") for result in results)
    head = "workload | threads | pycnn | median | worst | fastest peer | its time | ratio | goal"
    head += " | GFLOP/s | of FMA peak" + (
        " | fastest in float32 | its time | ratio" if single else ""
    )
    rule = "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    lines = [f"| {head} |", rule + " --- | ---: | ---: |" * single]
    for result in results:
        own, goal = result["peers"][_ours(result)], _goal(result)
        cells = [result["workload"], str(result["threads"])]
        cells += [duration(own[which]) for which in ("best", "median", "worst")]
        cells += _versus(result, "float64")
        rate = result["flops"] / own["best"] / 1e9
        peak = _peak(record, result["threads"])
        cells += [_times(goal) if goal else "–", f"{rate:.1f}"]
        cells.append("–" if peak is None else f"{rate / peak:.0%}")
        lines.append(f"| {' | '.join(cells + _versus(result, 'float32') * single)} |")
    return "\n".join(lines)


def _behind(record: dict[str, Any]) -> list[str]:
    """Say where a peer is ahead, and where pycnn is not as far ahead as it means to be."""
    ahead, short = [], []
    for result in sorted(record["results"], key=_order):
        best, goal = _best_peer(result), _goal(result)
        if best is None:
            continue
        peer = result["peers"][best]
        ratio = peer["best"] / result["peers"][_ours(result)]["best"]
        where = f"{result['workload']} with {_threads(result['threads'])}"
        if ratio < 1:
            ahead.append(f"{where} ({peer['title']}, {_times(ratio)})")
        elif goal is not None and ratio < goal:
            short.append(f"{where} ({_times(ratio)} of {_times(goal)})")
    lines = [f"A peer is ahead at: {', '.join(ahead) or 'none of these'}."]
    if short:
        lines.append(f"pycnn is ahead, but by less than its goal, at: {', '.join(short)}.")
    return ["\n".join(lines), ""]


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _order(result: dict[str, Any]) -> tuple[int, int]:
    return list(WORKLOADS).index(result["workload"]), result["threads"]


def _by_workload(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for result in sorted(record["results"], key=_order):
        groups.setdefault(result["workload"], []).append(result)
    return groups


def _names(results: list[dict[str, Any]]) -> list[str]:
    """Return who took part, the fastest first."""
    best = {
        name: result["peers"][name]["best"]
        for result in reversed(results)  # the first, with the fewest threads, decides
        for name in result["peers"]
    }
    return sorted(best, key=lambda name: best[name])


def _details(name: str, results: list[dict[str, Any]]) -> list[str]:
    """Return the table of one workload."""
    head, rule = ["peer"], ["---"]
    for result in results:
        head += [f"{_threads(result['threads'])}: best", "median", "worst", "÷ pycnn"]
        rule += ["---:"] * 4
    lines = [
        f"**{name}**: {WORKLOADS[name].describe()}",
        "",
        f"| {' | '.join([*head, 'agreement'])} |",
        f"| {' | '.join([*rule, '---'])} |",
    ]
    for peer in _names(results):
        cells, remark = [], ""
        for result in results:
            numbers = result["peers"].get(peer)
            if numbers is None:
                cells += ["–"] * 4
                continue
            title = numbers["title"]
            ratio = numbers["best"] / result["peers"][_ours(result)]["best"]
            cells += [duration(numbers[which]) for which in ("best", "median", "worst")]
            cells.append(_times(ratio))
            verdict = numbers["remark"] if numbers["agrees"] else f"**no**: {numbers['remark']}"
            remark = remark or ("the reference" if peer == "pycnn" else verdict)
        lines.append(f"| {' | '.join([title, *cells, remark])} |")
    return [*lines, ""]


def _conditions(record: dict[str, Any]) -> list[str]:
    """Return what there is to say of machine and software."""
    machine = record["machine"]
    governor = f", governor {machine['governor']}" if machine["governor"] else ""
    config = machine["pycnn"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    isa = record["isa"] or config["isa"]
    lines = [
        f"- {record['date']}; {machine['cpu']}, {machine['cpus']} CPUs{governor}; "
        f"{machine['system']}; load {machine['load']:.1f} before, {record['load_after']:.1f} after",
        f"- pycnn {config['version']} ({config['backend']}, {isa}, {config['compiler']}); "
        f"Python {machine['python']}, {versions}",
    ]
    for threads, limits in record["limits"].items():
        if not limits:
            continue
        peaks = ", ".join(f"{rate:.1f} ({isa})" for isa, rate in limits["peak"].items())
        reads = ", ".join(f"{rate:.0f} ({size})" for size, rate in limits["bandwidth"].items())
        lines.append(
            f"- limits, {_threads(int(threads))}: float64 FMA {peaks} GFLOP/s; reads {reads} GB/s"
        )
        if between := limits.get("between cores"):
            lines.append(
                f"- between two cores: {between['one way']:.0f} ns one way; one reads what the "
                f"other wrote at {between['read']:.0f} GB/s, and writes again what the other has "
                f"read at {between['write']:.1f} GB/s"
            )
    peaks = [peak for result in record["results"] for peak in result["peak"]]
    if peaks:
        counts = sorted({result["threads"] for result in record["results"]})
        spread = []
        for count in counts:
            own = [p for r in record["results"] if r["threads"] == count for p in r["peak"]]
            spread.append(
                f"{min(own):.1f} … {statistics.median(own):.1f} … {max(own):.1f} "
                f"({_threads(count)})"
            )
        lines.append(
            f"- the same FMA peak, measured with each round (least, median, most): "
            f"{', '.join(spread)} GFLOP/s: how quiet the machine was"
        )
    return lines


def _absent(record: dict[str, Any]) -> list[str]:
    """Return who did not take part, and why."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in sorted(record["results"], key=_order):
        for name, reason in result["absent"].items():
            where = reasons.setdefault((name, reason), [])
            if result["workload"] not in where:
                where.append(result["workload"])
    lines = [f"- {name} ({', '.join(where)}): {reason}" for (name, reason), where in
             sorted(reasons.items(), key=lambda item: list(PEERS).index(item[0][0]))]  # fmt: skip
    return ["Not taking part:", "", *lines, ""] if lines else []


def _head(record: dict[str, Any]) -> list[str]:
    lines = []
    if record["processes"] > 1:
        lines += [f"Best, median and worst of {record['processes']} processes, each of which has "
                  "one figure; who was far behind in the first of them took part there alone.",
                  ""]  # fmt: skip
    if record["quick"]:
        lines += ["A quick run, to see that all works: its figures mean little.", ""]
    return [*lines, *_conditions(record), "", summary(record), "", *_behind(record)]


def table(record: dict[str, Any]) -> str:
    """Return the whole report in Markdown."""
    lines = _head(record)
    for name, results in _by_workload(record).items():
        lines += _details(name, results)
    return "\n".join(lines + _absent(record))


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw a panel for each workload: each peer's time relative to pycnn's."""
    from matplotlib.figure import Figure

    groups = _by_workload(record)
    counts = sorted({result["threads"] for result in record["results"]})
    columns = 2
    rows = -(-len(groups) // columns)
    bars = [len(_names(results)) for results in groups.values()]
    heights = [max(bars[row * columns : (row + 1) * columns]) + 2 for row in range(rows)]
    inches = 1 + sum(heights) * (0.12 + 0.16 * len(counts))
    figure = Figure(figsize=(13, inches), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel()
    for panel, (name, results) in zip(panels, groups.items(), strict=False):
        _draw_panel(panel, name, results, counts)
    for panel in panels[len(groups) :]:
        panel.set_axis_off()
    threads = "one thread" if counts == [1] else f"threads: {', '.join(map(str, counts))}"
    pale = " (fewer: pale)" if len(counts) > 1 else ""
    figure.suptitle(
        "Time of a step as a multiple of pycnn's at as many threads; blue: the fastest peer\n"
        f"float64, best of the turns, {threads}{pale}; {record['machine']['cpu']}, {record['date']}"
    )
    figure.savefig(path, dpi=100)


def _draw_panel(panel: Axes, name: str, results: list[dict[str, Any]], counts: list[int]) -> None:
    from matplotlib.ticker import LogLocator

    names = _names(results)
    height = 0.84 / len(counts)
    ratios = [1.0]
    for result in results:
        ours, best = _ours(result), _best_peer(result)
        turn = counts.index(result["threads"])
        for row, peer in enumerate(names):
            numbers = result["peers"].get(peer)
            if numbers is None:
                continue
            ratio = numbers["best"] / result["peers"][ours]["best"]
            ratios.append(ratio)
            kind = "pycnn" if _is_ours(peer) else "best" if peer == best else "other"
            y = row + (turn - (len(counts) - 1) / 2) * height
            alpha = FULL if turn == len(counts) - 1 else PALE
            panel.barh(y, ratio - 1, height * 0.9, left=1, color=COLOURS[kind], alpha=alpha)
            text = f"{_times(ratio)}  {duration(numbers['best'])}"
            panel.annotate(
                text,
                (max(ratio, 1), y),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=COLOURS["pycnn"] if kind == "pycnn" else "black",
            )
    titles = {peer: r["peers"][peer]["title"] for r in results for peer in r["peers"]}
    panel.set_yticks(range(len(names)), [titles[peer] for peer in names], fontsize=8)
    for label, peer in zip(panel.get_yticklabels(), names, strict=True):
        if _is_ours(peer):
            label.set(color=COLOURS["pycnn"], weight="bold")
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_xlim(min(0.8, min(ratios) * 0.8), max(ratios) ** 1.3 * 1.5)  # room for the labels
    few = max(ratios) / min(ratios) < 30
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    panel.xaxis.set_minor_formatter("")
    panel.axvline(1, color=COLOURS["pycnn"], linewidth=1.5)
    panel.set_title(f"{name}: {WORKLOADS[name].describe()}", fontsize=9, loc="left")
    panel.tick_params(axis="x", labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)


def put_into(document: Path, record: dict[str, Any]) -> None:
    """Replace what is between the document's markers for such a run.

    Each family of workloads has markers of its own. A run with the machine's own instruction set
    puts in the whole report, with rows the chart beside the document; one held to another set only
    its first table, between markers that name the set.
    """
    for family, name in (("rows", "benchmarks"), ("layers", "benchmarks, layers")):
        own = [r for r in record["results"] if WORKLOADS[r["workload"]].family == family]
        part = record | {"results": own}
        if own and record["isa"] is not None:
            replace(document, f"{name}, {record['isa']}", "\n".join(_head(part)))
        elif own:
            chart = ""
            if family == "rows":
                picture = document.with_suffix(".png")
                draw(part, picture)
                chart = f"![Time of a step relative to pycnn's]({picture.name})\n\n"
            replace(document, name, chart + table(part))


def replace(document: Path, name: str, body: str) -> None:
    """Put the text between the document's markers of that name."""
    begin, end = (f"<!-- {name}: {which} -->" for which in ("begin", "end"))
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{document} must have the markers {begin} and {end}")
    document.write_text(f"{before}{begin}\n\n{body}\n{end}{after}", encoding="utf-8")
