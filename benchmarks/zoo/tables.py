"""Tables: results in, lines of Markdown out; nothing is measured here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks.zoo.jobs import NOT_MEASURED

Result = Mapping[str, Any]

_STEPS = ("capture", "couple", "screen", "plan", "shrink")
_CUT_HEADER = [
    "| network | input | groups | locked | MACs | parameters | seconds | nodes | peak memory | oracle |",
    "|---|---|---|---|---|---|---|---|---|---|",
]


def verdict(row: Result) -> str:
    """What became of one network: `exact`, or the worst thing that happened to it."""
    if row.get("refused") == NOT_MEASURED:
        return NOT_MEASURED
    if row.get("crash"):
        return "crash"
    if row.get("refused"):
        return "refused"
    if not row["exact"]:
        return "failed oracle"
    if not row["same_shapes"]:
        return "changed output shape"
    return "exact" if row["as_predicted"] else "wrong prediction"


def cutting_totals(rows: Sequence[Result]) -> list[str]:
    """The figures the section is about, each of them also when it is zero."""
    found = Counter(verdict(row) for row in rows)
    names = {
        "crash": "crashes",
        "failed oracle": "failed oracles",
        "changed output shape": "changed output shapes",
        "wrong prediction": "costs that were not as predicted",
        "refused": "refused captures",
        NOT_MEASURED: NOT_MEASURED,
    }
    counted = ", ".join(f"{found[key]} {words}" for key, words in names.items())
    lines = [f"**{len(rows)} networks: {found['exact']} cut exactly, {counted}.**"]
    timed = [row for row in rows if "seconds" in row]
    if timed:
        worst = max((row["error"] for row in timed if "error" in row), default=math.nan)
        untouched = sum(1 for row in timed if row["free"] and row.get("difference") == 0)
        lines.append(
            f"Largest oracle error {worst:.0e}. {sum(1 for row in timed if not row['free'])} networks have "
            f"nothing that may be cut; {untouched} cuts left the answer as it was."
        )
    return lines


def time_and_memory(rows: Sequence[tuple[str, Result]]) -> list[str]:
    """The slowest and the hungriest networks, below and above 100 M parameters."""
    lines = []
    for words, large in (("up to 100 M parameters", False), ("over 100 M parameters", True)):
        own = [
            (name, row) for name, row in rows if "seconds" in row and (row["parameters"][0] > 1e8) is large
        ]
        if own:
            slow, slowest = max(own, key=lambda one: seconds_of(one[1]))
            hungry, hungriest = max(own, key=lambda one: one[1]["peak_bytes"] / one[1]["model_bytes"])
            lines.append(
                f"- {words}: at most {seconds_of(slowest):.1f} s ({slow}), at most "
                f"{hungriest['peak_bytes'] / hungriest['model_bytes']:.1f} times the model ({hungry}, "
                f"{hungriest['model_bytes'] / 1e6:.0f} MB)."
            )
    return lines


def seconds_of(row: Result) -> float:
    """Seconds of all timed steps."""
    return math.fsum(row["seconds"].values())


def cutting_table(rows: Iterable[tuple[str, Result]]) -> list[str]:
    """One line per network."""
    return [*_CUT_HEADER, *(_cutting_line(name, row) for name, row in rows)]


def _cutting_line(name: str, row: Result) -> str:
    inputs = ", ".join(row.get("inputs", []))
    found = verdict(row)
    if "seconds" not in row:
        return f"| {name} | {inputs} | | | | | | | | {cell(found)}: {cell(_complaint(row))} |"
    seconds = " / ".join(f"{row['seconds'][step]:.2f}" for step in ("capture", "couple", "shrink"))
    peak = f"{row['peak_bytes'] / 1e6:.0f} MB ({row['peak_bytes'] / row['model_bytes']:.1f}x)"
    outcome = f"{row['error']:.0e}" if found == "exact" else f"{found}: {_complaint(row)}"
    locked = "; ".join(f"{number} {why}" for why, number in row["locked"].items())
    return (
        f"| {name} | {inputs} | {_groups(row)} | {cell(locked)} | {change(row['macs'], 1e9)} G | "
        f"{change(row['parameters'], 1e6)} M | {seconds} | {row['nodes']:,} | {peak} | {cell(outcome)} |"
    )


def _groups(row: Result) -> str:
    kinds = row["kinds"]
    if set(kinds) <= {"channels"}:
        return f"{row['free']} of {row['groups']}"
    return f"{row['free']} of {row['groups']} ({', '.join(f'{n} {kind}' for kind, n in kinds.items())})"


def _complaint(row: Result) -> str:
    if row.get("crash") or row.get("refused"):
        return shortened(str(row.get("crash") or row["refused"]))
    if row.get("refused_groups"):
        return "; ".join(f"{group}: {why}" for group, why in row["refused_groups"].items())
    return f"error {row['error']:.0e}"


def reason_totals(rows: Iterable[Result]) -> list[str]:
    """Why groups are locked, over all networks."""
    found: Counter[str] = Counter()
    networks: Counter[str] = Counter()
    for row in rows:
        found.update(row.get("locked", {}))
        networks.update(row.get("locked", {}).keys())
    lines = [f"| {cell(why)} | {number:,} | {networks[why]} |" for why, number in found.most_common()]
    return ["| locked because | groups | networks |", "|---|---|---|", *lines]


def reduction_table(rows: Iterable[tuple[str, tuple[float, float], Result, Result]]) -> list[str]:
    """Name, bar in GMACs, our half, the peer's half -> one line each."""
    lines = [
        "| network | asked | edgeprune | by torch's counter | oracle | s "
        "| Torch-Pruning | by torch's counter | runs, same shape | s | at least as far |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, asked, ours, theirs in rows:
        lines.append(
            f"| {name} | {asked[0]:g} -> {asked[1]:g} | {_side(ours, 'own')} | {_side(ours, 'torchs')} | "
            f"{_proof(ours)} | {_seconds(ours)} | {_side(theirs, 'own')} | {_side(theirs, 'torchs')} | "
            f"{_runs(theirs)} | {_seconds(theirs)} | {reached(asked, ours, theirs)} |"
        )
    return lines


def reached(asked: tuple[float, float], ours: Result, theirs: Result) -> str:
    """Whether as large a share went as was asked, and as the peer took in this run by the same counter."""
    if "own" not in ours:
        return "no"
    share = ours["own"][1] / ours["own"][0]
    # The bar is rounded to two digits.
    answers = [share <= (asked[1] + 0.005) / (asked[0] - 0.005)]
    if "torchs" in theirs and "torchs" in ours:
        answers.append(
            ours["torchs"][1] / ours["torchs"][0] <= theirs["torchs"][1] / theirs["torchs"][0] * 1.0001
        )
    return "yes" if all(answers) else ("no" if not any(answers) else "one of two")


def _side(row: Result, key: str) -> str:
    if row.get("crash") and key not in row:
        return cell(str(row["crash"])) if key == "own" else ""
    return change(row[key], 1e9) if key in row else ""


def _proof(row: Result) -> str:
    if row.get("crash") or row.get("refused_groups"):
        return "failed"
    return f"{row['error']:.0e}" if "error" in row else "inexact by request"


def _runs(row: Result) -> str:
    if row.get("crash") or "same_shapes" not in row:
        return "no"
    return "yes" if row["same_shapes"] else "another output shape"


def _seconds(row: Result) -> str:
    return f"{row['seconds']:.1f}" if "seconds" in row else ""


def scaling_table(rows: Iterable[tuple[str, Sequence[Result], Sequence[Result]]]) -> list[str]:
    """Name, our rounds, the peer's rounds -> medians with their spread, then the growth of both."""
    lines = [
        "| network | nodes | capture | couple | screen | plan | shrink | all, s | ms per node "
        "| Torch-Pruning: graph | step | all, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    points: list[tuple[int, float, float | None]] = []
    ordered = sorted(rows, key=lambda row: row[1][0].get("nodes", 0))
    for name, ours, theirs in ordered:
        own, other = _rounds(ours), _rounds(theirs)
        nodes = ours[0].get("nodes", 0)
        if own and nodes:
            points.append((nodes, median(map(math.fsum, own)), _total(other)))
        lines.append(
            f"| {name} | {nodes:,} | {_steps(ours, _STEPS)} | "
            f"{_spread(own)} | "
            f"{1000 * points[-1][1] / nodes if own and nodes else math.nan:.2f} | "
            f"{_steps(theirs, ('graph', 'step'))} | {_spread(other) if other else cell(_crash(theirs))} |"
        )
    return [*lines, "", *growth(points)]


def growth(points: Sequence[tuple[int, float, float | None]]) -> list[str]:
    """Least-squares slopes over (nodes, our seconds, the peer's), and the ends against each other."""
    lines = []
    for name, column in (("edgeprune", 1), ("Torch-Pruning", 2)):
        own = [(point[0], point[column]) for point in points if point[column] is not None]
        if len({nodes for nodes, _ in own}) > 1:
            nodes, seconds = np.array(own, dtype=float).T
            slope, offset = np.polyfit(nodes, seconds, 1)
            power = np.polyfit(np.log(nodes), np.log(seconds), 1)[0]
            ratio = (seconds[-1] / nodes[-1]) / (seconds[0] / nodes[0])
            lines.append(
                f"- {name}, {len(own)} networks: {1000 * slope:.2f} ms per node (least squares, offset "
                f"{offset:.2f} s); seconds grow as nodes to the power {power:.2f}; seconds per node of the "
                f"largest are {ratio:.2f} times those of the smallest."
            )
    return lines


def _rounds(rows: Iterable[Result]) -> list[list[float]]:
    return [list(row["seconds"].values()) for row in rows if not row.get("crash") and "seconds" in row]


def _total(rounds: list[list[float]]) -> float | None:
    return median(map(math.fsum, rounds)) if rounds else None


def _spread(rounds: list[list[float]]) -> str:
    totals = sorted(map(math.fsum, rounds))
    return f"{median(totals):.2f} ({totals[0]:.2f}-{totals[-1]:.2f})" if totals else "crash"


def _steps(rows: Sequence[Result], steps: Iterable[str]) -> str:
    whole = [row["seconds"] for row in rows if not row.get("crash") and "seconds" in row]
    return " | ".join(f"{median(one[step] for one in whole):.2f}" if whole else "" for step in steps)


def _crash(rows: Sequence[Result]) -> str:
    return next((str(row["crash"]) for row in rows if row.get("crash")), "")


def pattern_table(rows: Iterable[tuple[str, str, Result]]) -> list[str]:
    """Pattern, situation, result -> one line each."""
    lines = ["| pattern | situation | edgeprune | locked | Torch-Pruning | |", "|---|---|---|---|---|---|"]
    for pattern, situation, row in rows:
        ours = str(row["crash"]) if row.get("crash") else _pattern_outcome(row)
        locked = "; ".join(f"{group}: {why}" for group, why in _inner_locks(row).items())
        peer, detail = row.get("peer", ""), row.get("peer_detail", "")
        lines.append(f"| {pattern} | {situation} | {cell(ours)} | {cell(locked)} | {peer} | {cell(detail)} |")
    return lines


def pattern_totals(rows: Sequence[Result]) -> list[str]:
    """How many are exact here, and how many right there."""
    exact = sum(1 for row in rows if not row.get("crash") and not row["refused_groups"] and row["free"])
    whole = sum(1 for row in rows if "locked" in row and not _inner_locks(row))
    peer = Counter(row.get("peer", "no answer") for row in rows)
    found = ", ".join(f"{peer[one]} {one}" for one in peer)
    return [
        f"**{len(rows)} patterns. edgeprune: {exact} exact, {whole} of them with nothing locked but the "
        f"output. Torch-Pruning: {found}.**"
    ]


def _pattern_outcome(row: Result) -> str:
    if row["refused_groups"]:
        return "; ".join(f"{group}: {why}" for group, why in row["refused_groups"].items())
    return f"{row['error']:.0e}" if row["free"] else "nothing may be cut"


def _inner_locks(row: Result) -> dict[str, str]:
    locks = row.get("locked", {}).items()
    return {group: why for group, why in locks if not why.startswith("the network's output")}


def random_lines(rows: Sequence[Result]) -> list[str]:
    """Examples and failures, where they were drawn, then each failure."""
    drawn = [row for row in rows if row.get("refused") != NOT_MEASURED]
    failures = [one for row in drawn for one in row.get("failures", [])]
    lines = [f"**{_examples(drawn):,} random networks and plans, {len(failures)} failures.**", ""]
    for place in dict.fromkeys((row.get("machine", ""), row.get("versions", "")) for row in drawn):
        own = [row for row in drawn if (row.get("machine", ""), row.get("versions", "")) == place]
        seconds = sum(row.get("seconds", 0) for row in own)
        last = max(row.get("taken", "") for row in own)
        lines.append(
            f"- {_examples(own):,} of them up to {last} UTC on {place[0]}, {place[1]}: "
            f"{seconds:,.0f} s of one process."
        )
    if len(drawn) < len(rows):
        lines.append(f"- {len(rows) - len(drawn)} of {len(rows)} batches were not drawn.")
    lines += [f"- A batch of examples crashed: {row['crash']}" for row in drawn if row.get("crash")]
    lines += [f"- {one['why']}: `{one['line']}`" for one in failures[:20]]
    return lines


def _examples(rows: Iterable[Result]) -> int:
    return sum(row.get("examples", 0) for row in rows)


def change(pair: Sequence[float], unit: float) -> str:
    """Before and after in one unit."""
    before, after = (one / unit for one in pair)
    digits = 2 if before >= 0.1 else 4
    return f"{before:.{digits}f} -> {after:.{digits}f}"


def shortened(text: str, length: int = 240) -> str:
    """Long messages lose their middle: the end of a crash says where it happened."""
    if len(text) <= length:
        return text
    return f"{text[: length - 80]} ... {text[-75:]}"


def cell(text: str) -> str:
    """Text that stays within a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
