"""The plan: which units of which groups stay, tied to one graph, readable, editable, replayable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from edgeprune.core.document import Document, read_mapping
from edgeprune.core.errors import DocumentError, RequestError
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.optimizer import narrow_optimizer
from edgeprune.core.state import narrow_state, restore_state

PLAN = "plan.json"
"""The plan in a run folder."""


class Cost(Document):
    """What a network costs for one input (batch of one)."""

    parameters: int = Field(description="elements of all parameters; buffers are not counted")
    macs: int = Field(description="multiply-accumulates of convolutions and matrix products")
    weight_bytes: int = Field(description="bytes of parameters and floating-point buffers as stored")
    peak_activation_bytes: int = Field(
        description="largest sum of activations alive at once, executed in graph order"
    )


class Cut(Document):
    """The units of one group that stay, in ascending order; the others go."""

    group: str
    units: int = Field(gt=0, description="units the group has before the cut")
    kept: tuple[int, ...] = Field(json_schema_extra={"minItems": 1})
    lanes: tuple[tuple[int, ...], ...] = Field(
        default=(),
        description="where the groups of a grouped convolution keep different channels: what each of them "
        "keeps, as many as `kept`, which is the first of them, in the order in which they stay: what stands "
        "at the same place goes together in a later cut",
    )

    @model_validator(mode="after")
    def _kept_units_exist(self) -> Cut:
        if not self.kept:
            raise ValueError(f"group '{self.group}' keeps nothing; at least one unit must stay")
        if list(self.kept) != sorted(set(self.kept)):
            raise ValueError("kept must be ascending, each unit once")
        if self.kept[0] < 0 or self.kept[-1] >= self.units:
            raise ValueError(f"kept must lie in 0..{self.units - 1}")
        for number, lane in enumerate(self.lanes):
            if len(set(lane)) != len(lane) or len(lane) != len(self.kept):
                raise ValueError(f"lane {number} must name each unit once, and as many as kept")
            if min(lane) < 0 or max(lane) >= self.units:
                raise ValueError(f"lane {number} must lie in 0..{self.units - 1}")
        if self.lanes and self.lanes[0] != self.kept:
            raise ValueError("kept must be the first of the lanes")
        return self

    @model_serializer(mode="wrap")
    def _without_empty_lanes(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = write(self)
        return found if self.lanes else {key: value for key, value in found.items() if key != "lanes"}

    @property
    def removed(self) -> tuple[int, ...]:
        """The units that go."""
        kept = set(self.kept)
        return tuple(unit for unit in range(self.units) if unit not in kept)


class Plan(Document):
    """A decision that can be read, compared, edited and replayed; nothing is touched by making it.

    `cuts` is the decision. `tensors` follows from it and the graph: with it, states are narrowed without
    the network. Whoever edits `cuts` by hand deletes `tensors`; carrying the plan out works them out again.
    """

    kind: Literal["plan/1"] = "plan/1"
    graph: str = Field(description="fingerprint of the captured graph this plan belongs to")
    input: tuple[int, ...] = Field(
        default=(), description="size of one input the graph was captured with, without the batch"
    )
    criterion: str
    budget: str = Field(description="the request this plan answers, in words")
    seed: int
    before: Cost
    after: Cost = Field(description="predicted; a fresh count after surgery must equal it")
    cuts: tuple[Cut, ...]
    allow_inexact: tuple[str, ...] = Field(
        default=(), description="operators under which groups were free although exactness does not hold"
    )
    tensors: dict[str, Narrowing] = Field(
        default_factory=dict, description="what stays of every tensor that the cuts make narrower"
    )
    dropped: tuple[str, ...] = Field(
        default=(), description="tensors that vanish because the whole block they belong to goes"
    )
    locked: dict[str, str] = Field(
        default_factory=dict, description="groups the proof refused, with the reason"
    )

    @model_validator(mode="after")
    def _each_thing_is_said_once(self) -> Plan:
        counts = Counter(cut.group for cut in self.cuts)
        twice = [group for group, times in counts.items() if times > 1]
        if twice:
            raise ValueError(f"cuts: group '{twice[0]}' is cut twice")
        both = [name for name in self.dropped if name in self.tensors]
        if both:
            raise ValueError(f"dropped: '{both[0]}' is in tensors, too")
        return self

    def apply_to_state(self, state: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
        """A narrow copy of a state dict of torch tensors or numpy arrays.

        Tied entries stay tied; what the plan does not name is copied as it is.

        Parameters
        ----------
        prefix : str
            What stands before every name: "module." in the state of an EMA copy
            (`torch.optim.swa_utils.AveragedModel`) or of a network wrapped for several devices.

        Raises
        ------
        RequestError
            A tensor of the plan is missing, or has another shape.
        DocumentError
            The plan was written by hand and never carried out.
        """
        return narrow_state(self._tensors(prefix), self._dropped(prefix), state)

    def restore_state(
        self, narrow_state: Mapping[str, Any], full_state: Mapping[str, Any], *, prefix: str = ""
    ) -> dict[str, Any]:
        """The inverse: narrow values in a copy of the full state, at the places they came from.

        What was cut keeps the value of `full_state`.

        Raises
        ------
        RequestError
            A tensor is missing on either side, or has another shape.
        DocumentError
            The plan was written by hand and never carried out.
        """
        return restore_state(self._tensors(prefix), self._dropped(prefix), narrow_state, full_state)

    def apply_to_optimizer(
        self, state: Mapping[str, Any], parameter_names: Sequence[str] | None = None, *, prefix: str = ""
    ) -> dict[str, Any]:
        """A narrow copy of a torch optimiser's state dict, for the optimiser of the narrow network.

        Momentum and moments are narrowed with their parameters, step counts and hyper-parameters stay.

        Parameters
        ----------
        parameter_names : sequence of str, optional
            The parameters in the optimiser's order, `[name for name, _ in module.named_parameters()]` as a
            rule; not needed when the optimiser was built from `module.named_parameters()`.

        Raises
        ------
        RequestError
            The names do not match, or the state holds something of another shape than the parameter's.
        DocumentError
            The plan was written by hand and never carried out.
        """
        return narrow_optimizer(self._tensors(prefix), self._dropped(prefix), state, parameter_names)

    def compare(self, other: Plan, *, names: tuple[str, str] = ("first", "second")) -> PlanDifference:
        """What this plan and another one of the same graph cut differently.

        Raises
        ------
        RequestError
            They belong to different networks.
        """
        if self.graph != other.graph:
            raise RequestError(
                f"{names[0]} was made for graph {self.graph}, {names[1]} for {other.graph}",
                hint="only plans of one network can be compared group by group",
            )
        return PlanDifference(
            graph=self.graph,
            first=self._side(names[0]),
            second=other._side(names[1]),
            groups=tuple(_differing(self, other, names)),
            only_first=tuple(sorted(self._groups() - other._groups())),
            only_second=tuple(sorted(other._groups() - self._groups())),
        )

    def _tensors(self, prefix: str) -> dict[str, Narrowing]:
        if self.cuts and not self.tensors:
            raise DocumentError(
                "plan: says which units stay, but not what that means for each tensor",
                hint="`edgeprune apply PLAN MODEL --json` prints the plan with its tensors",
            )
        return {prefix + name: one for name, one in self.tensors.items()}

    def _dropped(self, prefix: str) -> list[str]:
        return [prefix + name for name in self.dropped]

    def _groups(self) -> set[str]:
        return {cut.group for cut in self.cuts}

    def _side(self, name: str) -> PlanSide:
        return PlanSide(
            name=name, criterion=self.criterion, budget=self.budget, before=self.before, after=self.after
        )


class PlanSide(Document):
    """One of two plans."""

    name: str
    criterion: str
    budget: str
    before: Cost
    after: Cost


class GroupDifference(Document):
    """A group that two plans cut differently."""

    group: str
    units: int
    kept_first: int
    kept_second: int
    only_first: tuple[int, ...] = Field(description="units that only the first plan keeps")
    only_second: tuple[int, ...] = Field(description="units that only the second plan keeps")
    lanes: int = Field(
        default=0, description="groups of a grouped convolution that keep other channels in the two plans"
    )


class PlanDifference(Document):
    """`edgeprune diff PLAN PLAN`."""

    kind: Literal["plan-difference/1"] = "plan-difference/1"
    graph: str
    first: PlanSide
    second: PlanSide
    groups: tuple[GroupDifference, ...] = Field(description="what is cut alike is left out")
    only_first: tuple[str, ...] = Field(description="groups that only the first plan cuts")
    only_second: tuple[str, ...] = Field(description="groups that only the second plan cuts")


def composed(first: Sequence[Cut], second: Sequence[Cut]) -> tuple[Cut, ...]:
    """What two cuts made one after the other keep, in units of the network before the first.

    Units of the second are those that the first kept, in their order; where a group has lanes of its own in
    the first, they are those of every lane, and the second cuts them alike.
    """
    before = {cut.group: cut for cut in first}
    both = dict(before)
    for cut in second:
        wide = before.get(cut.group)
        if wide is None:
            both[cut.group] = cut
            continue
        assert cut.units == len(wide.kept), f"{cut.group}: {cut.units} units follow on {len(wide.kept)}"
        assert not cut.lanes, f"{cut.group}: its channels were put in units before"
        kept, *lanes = (tuple(lane[unit] for unit in cut.kept) for lane in (wide.kept, *wide.lanes))
        both[cut.group] = wide.model_copy(update={"kept": kept, "lanes": tuple(lanes)})
    return tuple(both.values())


def find_plan(path: Path) -> Plan:
    """The plan in a file or run folder.

    Raises
    ------
    DocumentError
        There is none, it is another kind of document, or it has faults.
    """
    file = path / PLAN if path.is_dir() else path
    hint = f"name a {PLAN}, or the run folder that holds one"
    if not file.is_file():
        raise DocumentError(f"{file}: no such file", hint=hint)
    if file.suffix != ".json":
        raise DocumentError(f"{file}: not a plan, which is a .json file", hint=hint)
    data = read_mapping(file)
    if data.get("kind") != Plan.model_fields["kind"].default:
        kind = data.get("kind")
        raise DocumentError(
            f"{file}: not a plan{f' but a {kind}' if isinstance(kind, str) else ''}", hint=hint
        )
    return Plan.parse(data, source=str(file))


def _differing(first: Plan, second: Plan, names: tuple[str, str]) -> Iterator[GroupDifference]:
    ours, theirs = ({cut.group: cut for cut in plan.cuts} for plan in (first, second))
    for group in dict.fromkeys([*ours, *theirs]):
        units = {cut.units for cut in (ours.get(group), theirs.get(group)) if cut}
        if len(units) > 1:
            raise RequestError(
                f"group '{group}' has {ours[group].units} units in {names[0]}, "
                f"{theirs[group].units} in {names[1]}",
                hint="one of the plans was edited by hand; `edgeprune inspect` lists the units",
            )
        (count,) = units
        mine, other = (
            set(side[group].kept) if group in side else set(range(count)) for side in (ours, theirs)
        )
        lanes = _lanes_apart(ours.get(group), theirs.get(group))
        if mine != other or lanes:
            yield GroupDifference(
                group=group,
                units=count,
                kept_first=len(mine),
                kept_second=len(other),
                only_first=tuple(sorted(mine - other)),
                only_second=tuple(sorted(other - mine)),
                lanes=lanes,
            )


def _lanes_apart(first: Cut | None, second: Cut | None) -> int:
    """How many groups of a convolution keep other channels in one cut than in the other."""
    count = max((len(cut.lanes) for cut in (first, second) if cut), default=0)
    sides = [[*map(set, cut.lanes or (cut.kept,) * count)] if cut else [] for cut in (first, second)]
    return sum(mine != other for mine, other in zip_longest(*sides)) if count else 0
