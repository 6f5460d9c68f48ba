"""Plausibility: why a measurement is not to be believed, decided from its samples and what is known."""

from __future__ import annotations

from edgeprune.core.target import Target
from edgeprune.core.timing import Timing

_DIFFERENT = 0.05
"""Of the largest output. An int8 file answers alike on all machines or a step of one off, which is less."""
_NOISY = 3.0
"""p90 over p50: a machine that takes three times as long every tenth time is doing something else, too."""
_FEWER_MULTIPLICATIONS = 2.25
"""What Winograd's F(2x2, 3x3) saves of a convolution's multiplications: so much faster than the peak of
its arithmetic an honest kernel can seem."""
_PER_FP32 = {"fp32": 1.0, "fp16": 2.0, "int8": 8.0}
"""Operations of other precisions for one of float32 at most, where a target has no peak for them: twice the
4 that dot-product instructions give on a Cortex-A76 (targets/rpi5.toml: 153.48 against 38.369)."""


def implausible(
    timing: Timing,
    *,
    target: Target | None = None,
    precision: str = "fp32",
    macs: int | None = None,
    deviation: float | None = 0.0,
    throttled: str = "",
) -> str:
    """Why a timing is invalid, or '' where nothing speaks against it.

    `deviation` is None where the answer had another shape; `target` is None on a machine that is not it.
    """
    if deviation is None or deviation > _DIFFERENT:
        off = "in another shape" if deviation is None else f"{100 * deviation:.3g} % off"
        return f"the file answers otherwise there than here ({off})"
    if throttled:
        return f"the device was slowed down: {throttled}"
    peak = _peak_gmacs(target, precision, timing.threads) if target else None
    if macs and peak and macs / timing.p50_ms / 1e6 > peak * _FEWER_MULTIPLICATIONS:
        rate = macs / timing.p50_ms / 1e6
        return f"faster than its cores can multiply: {rate:.3g} GMAC/s, at most {peak:.3g} by their peak"
    if len(timing.samples_ns) >= 20 and timing.p90_ms > _NOISY * timing.p50_ms:
        return f"far too noisy: p90 is {timing.p90_ms / timing.p50_ms:.1f} times p50"
    return ""


def _peak_gmacs(target: Target, precision: str, threads: int) -> float | None:
    """Multiply-accumulates per second of a target's cores, in thousand millions, by its physics."""
    kind = "int8" if precision.startswith("int8") else precision
    scale = 1.0
    if not any(name.startswith(f"{kind}_peak") for name in target.physics):
        kind, scale = "fp32", _PER_FP32.get(kind, 8.0)
    for name, cores in (
        (f"{kind}_peak", 1),
        (f"{kind}_peak_one_core", threads),
        (f"{kind}_peak_one_core_highest", threads),
    ):
        if name in target.physics:
            return float(target.physics[name].value) / 2 * cores * scale
    return None
