"""For tests, ours and those of plug-in authors: fakes that behave, and what every plug-in must satisfy."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Format
from edgeprune.core.completed import Completed
from edgeprune.core.errors import DeviceError
from edgeprune.core.group import Group, Role, Slice
from edgeprune.core.protocols import (
    CalibratedQuantizer,
    ConnectionCriterion,
    Criterion,
    Dataset,
    Link,
    Need,
    Runtime,
    Transport,
)
from edgeprune.core.ranges import chosen
from edgeprune.core.registry import Family, find, names

Floats = NDArray[np.float64]
NEEDS: frozenset[Need] = frozenset(get_args(Need))
"""Everything that can be gathered from images."""


@dataclass(frozen=True)
class FakeEvidence:
    """Evidence with known numbers: unit u has magnitude u + 1, F of 2 u, and is eliminated u-th.

    What is not `gathered` is None, as it is for a group that has none of it.
    """

    gathered: frozenset[Need] = NEEDS

    def magnitude(self, group: Group, order: float) -> Floats:
        """Ascending magnitudes."""
        return self._ascending(group) + 1

    def weights(self, group: Group, roles: Iterable[Role]) -> list[Floats]:
        """Two weights per slice of unit u, both u + 1."""
        wanted = set(roles)
        each = (self._ascending(group) + 1)[:, None, None]
        return [np.repeat(each, 2, axis=2) for piece in group.slices if piece.role in wanted]

    def gains(self, group: Group) -> Floats | None:
        """Ascending gains; they come from no images, so they are always there."""
        return self._ascending(group) / 10

    def f_statistic(self, group: Group) -> Floats | None:
        """Ascending F."""
        return 2 * self._ascending(group) if "moments" in self.gathered else None

    def welch_statistic(self, group: Group) -> Floats | None:
        """Ascending F of Welch's kind."""
        return 3 * self._ascending(group) if "moments" in self.gathered else None

    def elimination(self, group: Group) -> Floats | None:
        """Ascending harm."""
        return np.linspace(0, 1, group.units) if "gram" in self.gathered else None

    def activation_weights(self, group: Group) -> list[Floats] | None:
        """Weights of readers that read ones."""
        return self.weights(group, ("consumer",)) if "activations" in self.gathered else None

    def saliency(self, group: Group) -> Floats | None:
        """Ascending squares."""
        return np.square(self._ascending(group)) if "gradients" in self.gathered else None

    def random(self, group: Group) -> Floats:
        """The same numbers every time."""
        return np.random.default_rng(0).random(group.units)

    def _ascending(self, group: Group) -> Floats:
        return np.arange(group.units, dtype=np.float64)


@dataclass(frozen=True)
class FakeConnectionEvidence:
    """Evidence on weights of one shape: entry k, in memory order, is k + 1, and column i has F of 2 i.

    What is not `gathered` is None, as it is where there is none of it.
    """

    shape: tuple[int, ...] = (4, 3)
    gathered: frozenset[Need] = NEEDS

    def magnitude(self, weight: str) -> Floats:
        """Ascending magnitudes."""
        return np.arange(1.0, 1 + np.prod(self.shape)).reshape(self.shape)

    def f_statistic(self, weight: str) -> Floats | None:
        """F that ascends with the input."""
        return 2 * self._inputs() if "moments" in self.gathered else None

    def welch_statistic(self, weight: str) -> Floats | None:
        """F of Welch's kind that ascends with the input."""
        return 3 * self._inputs() if "moments" in self.gathered else None

    def activation(self, weight: str) -> Floats | None:
        """Inputs of different size."""
        return 1 + self._inputs() if "activations" in self.gathered else None

    def saliency(self, weight: str) -> Floats | None:
        """Ascending squares."""
        return np.square(self.magnitude(weight)) if "gradients" in self.gathered else None

    def random(self, weight: str) -> Floats:
        """The same numbers every time."""
        return np.random.default_rng(0).random(self.shape)

    def _inputs(self) -> Floats:
        places = np.arange(float(self.shape[1])).reshape(-1, *[1] * (len(self.shape) - 2))
        return np.broadcast_to(places, self.shape)


@dataclass
class FakeSession:
    """Answers with the mean of its input, in a time that it is told."""

    nanoseconds: int = 1_000_000
    calls: list[int] = field(default_factory=list)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """One image of 3 x 8 x 8."""
        return (1, 3, 8, 8)

    def infer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Means per channel, shape (batch, channels)."""
        self.calls.append(len(inputs))
        return np.asarray(inputs.reshape(*inputs.shape[:2], -1).mean(2), dtype=np.float32)

    def time(self, inputs: NDArray[np.float32], *, warmup: int, runs: int) -> list[int]:
        """As long as it was told, every time."""
        return [self.nanoseconds] * runs

    def facts(self) -> Mapping[str, str]:
        """It says that it is a fake."""
        return {"runtime": "fake", "version": "0"}


@dataclass(frozen=True)
class FakeRuntime:
    """Opens any file as a FakeSession."""

    threads: int = 1
    format: Format = field(default="onnx", init=False)

    def open(self, path: Path) -> FakeSession:
        """A session; the file is not looked at."""
        return FakeSession()


@dataclass
class FakeShell:
    """Gives one answer to every command, and keeps the commands."""

    text: str = ""
    exit_code: int = 0
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        """The answer that it was made with."""
        self.commands.append(tuple(command))
        return Completed(tuple(command), self.exit_code, self.text.encode(), b"", 0.0)


def a_group(units: int = 4) -> Group:
    """A free group of `units` channels between two convolutions."""
    rows = np.arange(units, dtype=np.int64)[:, None]
    return Group(
        "conv1",
        units,
        (Slice("conv1.weight", 0, "producer", rows), Slice("conv2.weight", 1, "consumer", rows)),
    )


def check_plugin(family: Family, name: str) -> None:
    """What every plug-in must be: importable, a frozen dataclass, documented with how it is selected."""
    plugin = find(family, name)
    assert dataclasses.is_dataclass(plugin), f"{name} is not a dataclass"
    assert vars(plugin)["__dataclass_params__"].frozen, f"{name} is not frozen"
    assert plugin.__doc__, f"{name} has no docstring"
    assert name in names(family)


def check_criterion(criterion: Criterion, *, sizes: Sequence[int] = (2, 5, 16)) -> None:
    """Every criterion scores every unit with a finite number, twice alike, and by what it says it needs.

    What it does not need makes no difference, and a group that has no such evidence is scored all the same.
    """
    assert criterion.needs <= NEEDS, f"no such evidence: {', '.join(sorted(criterion.needs - NEEDS))}"
    for units in sizes:
        group = a_group(units)
        for gathered in (criterion.needs, frozenset[Need]()):
            scores = criterion.score(group, FakeEvidence(gathered))
            assert scores.shape == (units,)
            assert np.isfinite(scores).all()
            assert (criterion.score(group, FakeEvidence(gathered)) == scores).all()
        told, all_told = FakeEvidence(criterion.needs), FakeEvidence(NEEDS)
        assert (criterion.score(group, told) == criterion.score(group, all_told)).all(), (
            "it looks at evidence that its `needs` do not name"
        )


def check_connection_criterion(
    criterion: ConnectionCriterion, *, shapes: Sequence[tuple[int, ...]] = ((4, 3), (2, 3, 5, 5))
) -> None:
    """The same of a criterion of connections: finite, twice alike, by what it says it needs."""
    assert criterion.needs <= NEEDS, f"no such evidence: {', '.join(sorted(criterion.needs - NEEDS))}"
    for shape in shapes:
        for gathered in (criterion.needs, frozenset[Need]()):
            told = FakeConnectionEvidence(shape, gathered)
            scores = criterion.score_connections("weight", told)
            assert scores.shape == shape
            assert np.isfinite(scores).all()
            assert (criterion.score_connections("weight", told) == scores).all()
        told, all_told = FakeConnectionEvidence(shape, criterion.needs), FakeConnectionEvidence(shape)
        scores = criterion.score_connections("weight", told)
        assert (scores == criterion.score_connections("weight", all_told)).all(), (
            "it looks at evidence that its `needs` do not name"
        )


def check_dataset(dataset: Dataset) -> None:
    """Every dataset hands over inputs with channels second, finite, with one label each."""
    train = dataset.open().train
    inputs = train.read([0, train.size - 1])
    assert len(inputs) == 2
    assert inputs.ndim in {2, 3, 4}
    assert np.isfinite(inputs.astype(np.float64)).all()
    assert train.labels is not None
    assert train.labels.shape == (train.size,)
    assert train.labels.dtype == np.int64


def check_calibrated_quantizer(
    quantizer: CalibratedQuantizer,
    runtime: Runtime,
    source: Path,
    images: NDArray[np.float32],
    folder: Path,
) -> None:
    """Every quantizer with ranges writes what it is told to, answers nearly alike, and gives back operators.

    With every operator back the file answers as its source does.

    Parameters
    ----------
    source : path
        A float32 file that `runtime` loads.
    images : array
        A batch of the network's inputs, ten or more: the ranges are those of the first half.
    folder : path
        Where files may be written.
    """
    operators = quantizer.operators(source)
    everything = [one.name for one in operators]
    assert operators, "nothing in the source computes in integers"
    assert len(set(everything)) == len(everything), "two operators share a name"
    before = source.read_bytes()
    ranges = chosen(quantizer.observe(source, [images[: len(images) // 2]]), "min-max")
    assert all(low <= 0 <= high for low, high in ranges.values())

    def answers(name: str, floats: Sequence[str]) -> NDArray[np.float32]:
        quantizer.quantize_within(source, folder / name, ranges, floats)
        return runtime.open(folder / name).infer(images)

    expected = runtime.open(source).infer(images)
    scale = float(np.abs(expected).max())
    integers, again = answers("integers", ()), answers("again", ())
    assert 0 < float(np.abs(integers - expected).max()) < 0.2 * scale, "it does not answer nearly alike"
    assert (folder / "integers").read_bytes() == (folder / "again").read_bytes()
    assert (integers == again).all()
    floats = answers("floats", everything)
    np.testing.assert_allclose(floats, expected, atol=1e-5 * scale)
    for name in everything:
        answers("one", [name])
        assert (folder / "one").read_bytes() != (folder / "integers").read_bytes(), (
            f"{name} stays in integers"
        )
    narrow = {name: (low / 100, high / 100) for name, (low, high) in ranges.items()}
    quantizer.quantize_within(source, folder / "narrow", narrow)
    narrowed = runtime.open(folder / "narrow").infer(images)
    assert np.abs(narrowed - expected).max() > np.abs(integers - expected).max(), "it takes no ranges"
    assert source.read_bytes() == before, "it changed its source"


AWKWARD = (
    "two words",
    "it's",
    'a "b"',
    "$HOME `id` $(id)",
    "line\nbreak",
    "*?[a]",
    "-n",
    "\\n",
    "",
    "ä",
    ";&|<>#!~",
)
"""Words that a careless quotation takes apart."""


def check_transport(transport: Transport, folder: Path) -> None:
    """Every transport runs commands word for word, ends what takes too long, and moves files whole.

    `folder` is an empty folder of this machine. About six seconds, most of them waiting.
    """
    with transport.connect() as link:
        _check_shell(link)
        _check_timeout(link)
        _check_files(link, folder)
        first = link.scratch
    try:
        with transport.connect() as link:
            assert link.scratch != first, "two links share a scratch folder"
            assert not _exists(link, first), "the scratch folder stays behind"
            second = link.scratch
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with transport.connect() as link:
        assert not _exists(link, second), "the scratch folder stays behind after Ctrl-C"


def _check_shell(link: Link) -> None:
    run = link.shell.run
    done = run(["printf", "%s|", *AWKWARD], timeout=20)
    assert done.text() == "".join(f"{word}|" for word in AWKWARD)
    assert done.command == ("printf", "%s|", *AWKWARD)
    every_byte = bytes(range(256)) * 1000
    assert run(["cat"], timeout=20, stdin=every_byte).stdout == every_byte
    assert run(["cat"], timeout=20).stdout == b""
    failed = run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=20)
    assert (failed.exit_code, failed.stdout, failed.stderr) == (7, b"out\n", b"err\n")
    assert run(["no-such-program"], timeout=20).exit_code == 127
    awkward = link.scratch / "a b'c\nd"
    assert run(["mkdir", str(awkward)], timeout=20).exit_code == 0
    assert run(["pwd"], timeout=20, cwd=awkward).text() == f"{awkward}\n"


def _check_timeout(link: Link) -> None:
    mark = link.scratch / "process"
    started = time.monotonic()
    slow = ["sh", "-c", 'sleep 60 & echo $$ $! > "$1"; wait', "sh", str(mark)]
    assert "after 1 s" in _refusal(lambda: link.shell.run(slow, timeout=1))
    assert time.monotonic() - started < 20
    # What has ended may be listed as a zombie until somebody asks for its exit code.
    alive = (
        'for one in $(cat "$1"); do kill -0 $one 2>/dev/null && '
        "! grep -qs '^State:.*Z' /proc/$one/status && echo $one; done; true"
    )
    found = link.shell.run(["sh", "-c", alive, "sh", str(mark)], timeout=20)
    assert found.text() == "", "what took too long runs on, or what it started"


def _check_files(link: Link, folder: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8).tobytes()
    for name, bytes_ in (("it's a\n$file", content), ("empty", b"")):
        (folder / name).write_bytes(bytes_)
        there = link.scratch / "deep er" / name
        link.files.push(folder / name, there)
        link.files.pull(there, folder / f"{name}.back")
        assert (folder / f"{name}.back").read_bytes() == bytes_
    tree = folder / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "leaf").write_text("leaf")
    for _ in range(2):  # a folder that is there already is replaced
        link.files.push(tree, link.scratch / "tree")
    listed = link.shell.run(["find", ".", "-type", "f"], timeout=20, cwd=link.scratch / "tree")
    assert listed.text() == "./inner/leaf\n"
    left = link.shell.run(["find", str(link.scratch), "-name", "*.part"], timeout=20)
    assert left.text() == "", "half-written files stay behind"
    assert _refusal(lambda: link.files.pull(link.scratch / "nothing", folder / "nothing"))
    assert not (folder / "nothing").exists()


def _refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except DeviceError as error:
        return error.message
    raise AssertionError("no DeviceError")


def _exists(link: Link, path: PurePosixPath) -> bool:
    return link.shell.run(["test", "-e", str(path)], timeout=20).exit_code == 0
