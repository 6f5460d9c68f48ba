"""Device runs: what the runner on a device is asked, and what it answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, computed_field, model_validator

from edgeprune.core.artifact import Format
from edgeprune.core.document import Document
from edgeprune.core.timing import Timing

_BITS = {
    0: "under-voltage",
    1: "the clock is capped",
    2: "throttled",
    3: "at the temperature limit",
}
_SINCE_BOOT = 16


class JobFile(Document):
    """A file to measure, and a golden pair: an input, and what this machine answers to it."""

    path: str = Field(description="beside the job, as are the others")
    format: Format
    inputs: str = Field(description=".npy, one input with its batch axis")
    outputs: str = Field(description=".npy, what the file should answer")


class Job(Document):
    """What the runner is asked to do."""

    kind: Literal["job/1"] = "job/1"
    files: tuple[JobFile, ...]
    threads: tuple[int, ...] = Field(min_length=1, description="the first are the target's")
    rounds: int = Field(default=15, gt=0, description="in which the files take turns")
    runs: int = Field(default=20, gt=0, description="per file and round, at most")
    warmup: int = Field(default=20, ge=0, description="least inferences before the first sample")
    seconds_per_file: float = Field(default=15.0, gt=0)
    pin: bool = Field(default=False, description="stay on the fastest cores where some are faster")
    governor: str | None = Field(default=None, description="set while measuring, if that is permitted")
    cool_to_c: float | None = Field(default=None, description="wait until the machine is this cool")
    cool_s: float = Field(default=0.0, ge=0, description="but not longer than this")
    memory: bool = Field(default=False, description="take the peak memory in a process of its own")
    operators: bool = Field(default=False, description="take the time per operator where the runtime can")


class MachineState(Document):
    """What can change while a machine is measured; null where it does not say."""

    clock_mhz: float | None = None
    temperature_c: float | None = None
    throttled_bits: int | None = Field(default=None, description="the Raspberry Pi firmware's word")
    throttle_events: int | None = Field(default=None, description="of x86 cores, since boot")
    load_average: float | None = None


class OperatorTime(Document):
    """One kind of operator in one warm inference."""

    operator: str
    ms: float
    calls: int


class FileRun(Document):
    """What the runner found of one file."""

    path: str
    runtime: str = ""
    runtime_version: str = ""
    error: str = ""
    load_ms: float | None = None
    first_ms: float | None = Field(default=None, description="the first inference")
    deviation: float | None = Field(
        default=None, description="largest difference from the golden answer, over its largest magnitude"
    )
    timings: tuple[Timing, ...] = Field(default=(), description="one for each number of threads")
    peak_memory_bytes: int | None = None
    runtime_memory_bytes: int | None = Field(default=None, description="of the peak, the runtime's own")
    operators: tuple[OperatorTime, ...] = ()


class DeviceRun(Document):
    """Everything the runner answers."""

    kind: Literal["device-run/1"] = "device-run/1"
    python: str
    governor: str | None = Field(description="the one that held while measuring")
    pinned_cores: tuple[int, ...] = ()
    waited_s: float = Field(default=0.0, description="for the machine to cool down")
    before: MachineState
    after: MachineState
    files: tuple[FileRun, ...]

    @model_validator(mode="before")
    @classmethod
    def _derive_again(cls, data: Any) -> Any:
        """Leave out what follows from the states."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key != "throttled"}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def throttled(self) -> str:
        """What slowed the machine down while it was measured; '' where nothing is known of it."""
        now = (self.before.throttled_bits or 0) | (self.after.throttled_bits or 0)
        new = (self.after.throttled_bits or 0) & ~(self.before.throttled_bits or 0)
        reasons = [why for bit, why in _BITS.items() if now >> bit & 1 or new >> bit + _SINCE_BOOT & 1]
        events = (self.after.throttle_events or 0) - (self.before.throttle_events or 0)
        if events > 0:
            reasons.append(f"slowed down for heat {events} times")
        return ", ".join(reasons)


def throttled_words(bits: int | None) -> str:
    """The firmware's word about now, in words; '' where it has nothing to say."""
    return ", ".join(why for bit, why in _BITS.items() if (bits or 0) >> bit & 1)
