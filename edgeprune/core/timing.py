"""Timings: raw samples are kept, every statistic is derived from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, computed_field, model_validator

from edgeprune.core.document import Document

_RESAMPLES = 1000


class Timing(Document):
    """Durations of single inferences of one input, in the order they were taken."""

    samples_ns: tuple[int, ...] = Field(min_length=1)
    warmup: int = Field(ge=0, description="inferences run before the first sample")
    threads: int = Field(gt=0)

    @model_validator(mode="before")
    @classmethod
    def _derive_again(cls, data: Any) -> Any:
        """Drop statistics a written document carries: they follow from the samples."""
        if isinstance(data, dict):
            derived = {"p50_ms", "p90_ms", "p95_ms", "p99_ms", "p50_interval_ms"}
            return {key: value for key, value in data.items() if key not in derived}
        return data

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p50_ms(self) -> float:
        """Median, milliseconds."""
        return self.quantile_ms(0.50)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p90_ms(self) -> float:
        """90th percentile, milliseconds."""
        return self.quantile_ms(0.90)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p95_ms(self) -> float:
        """95th percentile, milliseconds."""
        return self.quantile_ms(0.95)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p99_ms(self) -> float:
        """99th percentile, milliseconds."""
        return self.quantile_ms(0.99)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p50_interval_ms(self) -> tuple[float, float]:
        """95 % bootstrap interval of the median, milliseconds."""
        medians = bootstrap_medians(self.samples_ns) / 1e6
        low, high = np.quantile(medians, [0.025, 0.975])
        return round(float(low), 6), round(float(high), 6)

    def quantile_ms(self, share: float) -> float:
        """A quantile of the samples, milliseconds."""
        return round(float(np.quantile(self.samples_ns, share)) / 1e6, 6)


def bootstrap_medians(samples: tuple[int, ...], *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Medians of resampled samples, shape (resamples,), in the samples' unit."""
    values = np.asarray(samples, dtype=np.float64)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(values), (_RESAMPLES, len(values)))
    return np.asarray(np.median(values[drawn], axis=1))
