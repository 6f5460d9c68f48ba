"""Compare: which files of two reports became faster, smaller or worse, and how sure that is."""

from __future__ import annotations

import numpy as np

from edgeprune.core.comparison import Comparison, Row, Verdict
from edgeprune.core.report import DeliveredArtifact, Latency, Quality, Report
from edgeprune.core.timing import bootstrap_medians


def compare(before: Report, after: Report, *, names: tuple[str, str]) -> Comparison:
    """Match files by format and precision; latencies are those on the machine that measured them."""
    old, new = _by_kind(before), _by_kind(after)
    return Comparison(
        before=names[0],
        after=names[1],
        same_device=before.device.cpu == after.device.cpu,
        rows=tuple(_row(old[kind], new[kind]) for kind in old if kind in new),
        only_before=tuple(" ".join(kind) for kind in old if kind not in new),
        only_after=tuple(" ".join(kind) for kind in new if kind not in old),
    )


def measured(artifact: DeliveredArtifact) -> Latency | None:
    """The latency that was really taken: on the target, else on the machine of the run."""
    for latency in (artifact.latency, artifact.latency_here):
        if latency is not None and latency.kind == "measured":
            return latency
    return None


def _by_kind(report: Report) -> dict[tuple[str, str], DeliveredArtifact]:
    return {(one.format, one.precision): one for one in report.artifacts}


def _row(old: DeliveredArtifact, new: DeliveredArtifact) -> Row:
    first, second = measured(old), measured(new)
    ratio, interval = _ratio(first, second)
    return Row(
        format=old.format,
        precision=old.precision,
        bytes_before=old.bytes,
        bytes_after=new.bytes,
        top1_before=old.quality.top1 if old.quality else None,
        top1_after=new.quality.top1 if new.quality else None,
        top1_change=_change(old.quality, new.quality),
        p50_ms_before=first.p50_ms if first else None,
        p50_ms_after=second.p50_ms if second else None,
        ratio=ratio,
        interval=interval,
        verdict=_verdict(interval),
    )


def _change(first: Quality | None, second: Quality | None) -> tuple[float, float] | None:
    """The interval of the change in accuracy; reports hold no answers, so images cannot be paired."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    if first is None or second is None:
        return None
    right = [round(one.top1 * one.images / 100) for one in (second, first)]
    low, high = confint_proportions_2indep(
        right[0], second.images, right[1], first.images, method="newcomb", compare="diff"
    )
    return round(100 * float(low), 2), round(100 * float(high), 2)


def _ratio(first: Latency | None, second: Latency | None) -> tuple[float | None, tuple[float, float] | None]:
    if first is None or second is None or first.timing is None or second.timing is None:
        return None, None
    ratios = bootstrap_medians(second.timing.samples_ns, seed=1) / bootstrap_medians(
        first.timing.samples_ns, seed=2
    )
    low, high = np.quantile(ratios, [0.025, 0.975])
    ratio = second.timing.p50_ms / first.timing.p50_ms
    return round(ratio, 4), (round(float(low), 4), round(float(high), 4))


def _verdict(interval: tuple[float, float] | None) -> Verdict:
    if interval is None:
        return "not measured"
    if interval[1] < 1:
        return "faster"
    return "slower" if interval[0] > 1 else "indistinguishable"
