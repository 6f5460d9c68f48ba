"""Evidence: what criteria may look at, gathered in one pass over the calibration images."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from edgeprune.core.group import Group, Indices, Role, Slice
from edgeprune.core.moments import LARGEST, ClassMoments, comparable
from edgeprune.core.protocols import Need
from edgeprune.graph import activity, saliency
from edgeprune.graph.activity import Activity
from edgeprune.graph.consumers import Consumer, consumers, output_scale
from edgeprune.graph.couple import Coupling
from edgeprune.graph.eliminate import RIDGE, Reader, eliminate, harm_without
from edgeprune.graph.finite import require_finite
from edgeprune.graph.gram import Gram, Spread, factored, sample
from edgeprune.graph.image_rows import Order, means, orders
from edgeprune.graph.nodes import tensor_shape
from edgeprune.graph.replay import observe
from edgeprune.graph.saliency import Saliency
from edgeprune.graph.unit_weights import UnitWeights, unit_rows

# Rows per layer and batch: enough that the moments are set by the images, not by their positions.
_ROWS = 3_200
_FLAT = 1e-6
"""Share of the largest variance below which a channel does not vary."""
_BETWEEN_BATCHES = 1_000_003
"""Between the seeds of two batches: a prime above any seed people choose, so that they do not meet."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """What some of the batches showed, to be merged with what the others did."""

    moments: dict[tuple[str, str], ClassMoments]
    """By the names of group and node."""
    grams: dict[str, Gram]
    spreads: dict[str, Spread]
    """By the name of the node."""
    outcomes: dict[str, ClassMoments]
    """By the name of the node."""
    activity: activity.Totals
    saliency: saliency.Totals


@dataclass(eq=False)
class GroupEvidence:
    """What criteria may look at, gathered batch by batch; only what `needs` names costs anything."""

    coupling: Coupling
    groups: list[Group]
    classes: int
    seed: int
    needs: frozenset[Need] = frozenset({"moments", "gram"})
    _moments: dict[str, dict[Node, ClassMoments]] = field(default_factory=dict)
    _grams: dict[str, Gram] = field(default_factory=dict)
    _spreads: dict[Node, Spread] = field(default_factory=dict)
    _outcomes: dict[Node, ClassMoments] = field(default_factory=dict)
    _orders: dict[Node, Order] | None = None
    _greedy: dict[str, tuple[list[int], NDArray[np.float64]]] = field(default_factory=dict)
    _anova: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tensors = self.coupling.program.tensors()
        self.tensors: dict[str, Tensor] = {name: tensor.detach() for name, tensor in tensors.items()}
        readers = {one.weight: one for one in consumers(self.coupling)}
        self._readers = {
            group.id: [
                readers[piece.tensor] for piece in group.of_role("consumer") if piece.tensor in readers
            ]
            for group in self.groups
        }
        self._weights = UnitWeights(self.coupling.program)
        wanted = {one.weight: one for each in self._readers.values() for one in each}
        self._by_source: dict[Node, list[Consumer]] = {}
        if "gram" in self.needs:
            for one in wanted.values():
                self._by_source.setdefault(one.source, []).append(one)
        received = self.needs & {"gram", "outcomes"}
        self._receivers = {one.receiver: one.map.channel_axis for one in wanted.values() if received}
        self._sources = self._sources_of_groups() if "moments" in self.needs else {}
        self._activity = self._activity_of_groups()
        self._saliency = Saliency(self.coupling.program, self._gates())
        self._random = torch.Generator().manual_seed(self.seed)

    def add(self, inputs: Tensor, labels: NDArray[np.int64] | None, place: int = 0) -> None:
        """Run one batch and add what it shows; `place` is its number among all batches.

        Raises
        ------
        ModelError
            A layer answers with NaN or infinity.
        """
        rows = self._row_orders(inputs) if labels is not None else {}
        # By the batch, so that it shows the same whichever process looks at it.
        self._random.manual_seed(self.seed + _BETWEEN_BATCHES * place)

        def visit(node: Node, value: Tensor) -> None:
            require_finite(node, value)
            if node in self._receivers and "gram" in self.needs:
                self._add_spread(node, value)
            if labels is not None and node in self._receivers and "outcomes" in self.needs and node in rows:
                axis = self._receivers[node] % value.ndim
                per_image = means(node, value, axis, len(labels), rows[node])
                _merge_into(self._outcomes, node, ClassMoments.of(per_image, labels, self.classes))
            for one in self._by_source.get(node, []):
                self._add_gram(one, value)
            self._activity.add(node, value)
            if labels is not None:
                for group, axis, indices in self._sources.get(node, []) if node in rows else ():
                    per_image = means(node, value, axis, len(labels), rows[node])
                    self._add_moments(group, node, per_image[:, indices].mean(2), labels)

        watched = {*self._receivers, *self._by_source, *self._sources, *self._activity.sources}
        if watched:
            observe(self.coupling.program, inputs, watched, visit)
        if "gradients" in self.needs:
            self._saliency.add(inputs, labels)

    def moments(self, group: Group) -> list[ClassMoments]:
        """Moments per class of the group's units, for each value in which it is read; none without labels."""
        return list(self._moments.get(group.id, {}).values())

    def readings(self, group: Group) -> list[tuple[Consumer, Slice, Gram]]:
        """Layers that read the group linearly, where its units are in their weights, and what they read."""
        pieces = {piece.tensor: piece for piece in group.of_role("consumer")}
        return [
            (one, pieces[one.weight], self._grams[one.weight])
            for one in self._readers[group.id]
            if one.weight in self._grams
        ]

    def last_layer(self, total: Node) -> tuple[Consumer, Gram] | None:
        """The layer that a residual branch ends with, and what it reads; None where none is known."""
        ends = (one for each in self._readers.values() for one in each if one.total is total)
        return next(((one, self._grams[one.weight]) for one in ends if one.weight in self._grams), None)

    def shard(self) -> Shard:
        """What the batches so far have shown."""
        return Shard(
            {(group, node.name): one for group, each in self._moments.items() for node, one in each.items()},
            self._grams,
            {node.name: spread for node, spread in self._spreads.items()},
            {node.name: moments for node, moments in self._outcomes.items()},
            self._activity.totals(),
            self._saliency.totals(),
        )

    def merge(self, shards: Sequence[Shard]) -> None:
        """Hold what all shards have shown together, in place of what was added here."""
        nodes = {node.name: node for node in self.coupling.program.graph.nodes}
        self._moments, self._grams, self._spreads, self._outcomes = {}, {}, {}, {}
        for shard in shards:
            for (group, name), moments in shard.moments.items():
                _merge_into(self._moments.setdefault(group, {}), nodes[name], moments)
            for name, moments in shard.outcomes.items():
                _merge_into(self._outcomes, nodes[name], moments)
            for weight, gram in shard.grams.items():
                self._grams.setdefault(weight, Gram()).merge(gram)
            for name, spread in shard.spreads.items():
                self._spreads.setdefault(nodes[name], Spread()).merge(spread)
        self._activity.replace(shard.activity for shard in shards)
        self._saliency.replace(shard.saliency for shard in shards)

    def magnitude(self, group: Group, order: float) -> NDArray[np.float64]:
        """Mean l-`order` norm of each unit's producing weights."""
        return self._weights.magnitude(group, order)

    def group_norm(self, group: Group) -> NDArray[np.float64]:
        """Euclidean norm of all weights that go with each unit, those of its readers too."""
        return self._weights.group_norm(group)

    def weights(self, group: Group, roles: Iterable[Role]) -> list[NDArray[np.float64]]:
        """Trained values of the group's slices, each of shape (units, width, other axes flattened)."""
        return self._weights.of(group, roles)

    def gains(self, group: Group) -> NDArray[np.float64] | None:
        """Mean absolute batch-norm gain of each unit; None without batch norm."""
        return self._weights.gains(group)

    def f_statistic(self, group: Group) -> NDArray[np.float64] | None:
        """Mean F over the values in which the group is read; None where it is not defined."""
        found = self._analysis(group)
        return None if found is None else found[0]

    def welch_statistic(self, group: Group) -> NDArray[np.float64] | None:
        """Mean of Welch's F over the values in which the group is read; None as for F."""
        found = [
            np.nan_to_num(moments.welch()[0], posinf=LARGEST)
            for moments in self.moments(group)
            if comparable(moments.count, 2)
        ]
        return np.asarray(np.mean(found, axis=0)) if found else None

    def p_value(self, group: Group) -> NDArray[np.float64] | None:
        """That a unit differs across classes in no value in which the group is read; None as for F.

        The smallest of the values' p-values times their number (Bonferroni), so that a stream that is read
        many times makes no more false discoveries than one that is read once.
        """
        found = self._analysis(group)
        return None if found is None else found[1]

    def elimination(self, group: Group, separation: float = 0.0) -> NDArray[np.float64] | None:
        """Harm at which greedy elimination removes each unit; None without data or linear readers."""
        readers = self._prepared(group, separation)
        if not readers:
            return None
        order, harm = eliminate(readers, group.units) if separation else self._eliminated(group, readers)
        scores = np.empty(group.units)
        scores[order] = np.append(harm[1:], np.inf)
        # The last unit is never removed; any score above the others says so.
        scores[order[-1]] = (harm[-1] if len(harm) > 1 else 0.0) * 1.01 + 1e-12
        return scores

    def harms(self, group: Group, removals: Iterable[Sequence[int]]) -> list[float] | None:
        """Refit error without each of some sets of units; None without data or linear readers."""
        readers = self._prepared(group)
        return [harm_without(readers, units) for units in removals] if readers else None

    def activation_weights(self, group: Group) -> list[NDArray[np.float64]] | None:
        """Absolute consumer weights times the root mean square of what they read, shaped like `weights`."""
        found = []
        for piece in group.of_role("consumer"):
            weight = self.tensors[piece.tensor]
            norms = self._activity.norms(piece.tensor, piece.axis, weight)
            if norms is not None:
                found.append(unit_rows(weight.double().abs() * norms, piece))
        return found or None

    def saliency(self, group: Group) -> NDArray[np.float64] | None:
        """Mean squared first-order change of the loss without each unit; None without data."""
        return self._saliency.mean(group.id)

    def random(self, group: Group) -> NDArray[np.float64]:
        """Uniform numbers that depend on the seed and the group's name only."""
        return np.random.default_rng([self.seed, zlib.crc32(group.id.encode())]).random(group.units)

    def harm(self, group: Group, scores: NDArray[np.float64], order: list[int]) -> NDArray[np.float64]:
        """Cumulative harm along an order: refit error with data, share of squared score without."""
        readers = self._prepared(group)
        if readers:
            greedy, curve = self._greedy.get(group.id, (None, None))
            if greedy == order and curve is not None:
                return curve
            return eliminate(readers, group.units, order)[1]
        squares = np.square(np.abs(scores[order]))
        total = float(squares.sum()) or 1.0
        return np.concatenate([[0.0], np.cumsum(squares)[:-1] / total])

    def _eliminated(self, group: Group, readers: list[Reader]) -> tuple[list[int], NDArray[np.float64]]:
        if group.id not in self._greedy:
            self._greedy[group.id] = eliminate(readers, group.units)
        return self._greedy[group.id]

    def _prepared(self, group: Group, separation: float = 0.0) -> list[Reader]:
        """The group's linear readers with their moments inverted; empty without data."""
        return [self._reader(one, piece, gram, separation) for one, piece, gram in self.readings(group)]

    def _reader(self, one: Consumer, piece: Slice, gram: Gram, separation: float) -> Reader:
        columns = one.map.columns(self.tensors[one.weight].double())
        scale = one.map.per_block(output_scale(one, self.tensors))
        spread = self._spreads[one.receiver].total() or 1.0
        weight = columns * scale[:, None] / spread**0.5
        outcomes = self._outcomes.get(one.receiver)
        if separation and outcomes is not None and comparable(outcomes.count):
            weight = weight @ self._metric(one, separation)
        factor = factored(gram.covariance(centred=one.has_intercept), RIDGE)
        return Reader(
            inverse=torch.cholesky_inverse(factor),
            weight=weight,
            columns=torch.from_numpy(unit_columns(one, piece)),
        )

    def _metric(self, one: Consumer, separation: float) -> Tensor:
        """What turns errors of a layer's outputs into errors that all count alike, (blocks, out, out)."""
        apart = self._discriminants(one)
        outputs = torch.eye(apart.shape[2], dtype=apart.dtype)
        squares = (1 - separation) * outputs + separation * torch.einsum("cbi,cbj->bij", apart, apart)
        # Its root; by eigenvalues, since discriminants alone are fewer than the outputs.
        values, vectors = torch.linalg.eigh(squares)
        root: Tensor = vectors * values.clamp_min(0).sqrt()[:, None]
        return root

    def _discriminants(self, one: Consumer) -> Tensor:
        """What each class's score against the others reads of a layer's output, shape (classes, blocks, out).

        Fisher's linear discriminant, variances within the classes taken channel by channel: class means
        from their common mean over those variances. As long, all together, as if every output were read.
        """
        moments = self._outcomes[one.receiver]
        share = (moments.count / moments.count.sum())[:, None]
        within = moments.m2.sum(0) / moments.count.sum()
        between = moments.mean - (share * moments.mean).sum(0)
        # A channel that hardly varies tells nothing apart, whatever its rounding says.
        told = within > _FLAT * within.max()
        apart = share**0.5 * between * told / np.where(told, within, 1.0)
        length = float(np.square(apart).sum()) or 1.0
        scaled = torch.from_numpy(apart * (apart.shape[1] / length) ** 0.5)
        return torch.stack([one.map.per_block(row) for row in scaled])

    def _add_gram(self, one: Consumer, source: Tensor) -> None:
        sites = one.map.sites(one.map.size_from(source))
        chosen = sample(sites, len(source), _ROWS, self._random)
        self._grams.setdefault(one.weight, Gram()).add(one.map.rows(source, chosen))

    def _add_spread(self, node: Node, value: Tensor) -> None:
        channels = value.movedim(self._receivers[node], -1)
        rows = channels.reshape(-1, channels.shape[-1])
        self._spreads.setdefault(node, Spread()).add(rows)

    def _row_orders(self, inputs: Tensor) -> dict[Node, Order]:
        """Whose the rows of the values with moments are; asked once."""
        if self._orders is None:
            outcomes = self._receivers if "outcomes" in self.needs else ()
            self._orders = orders(self.coupling.program, inputs[:1], {*self._sources, *outcomes})
        return self._orders

    def _add_moments(
        self, group: Group, node: Node, per_unit: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> None:
        batch = ClassMoments.of(per_unit, labels, self.classes)
        _merge_into(self._moments.setdefault(group.id, {}), node, batch)

    def _analysis(self, group: Group) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        if group.id not in self._anova:
            found = [moments.anova() for moments in self.moments(group) if comparable(moments.count)]
            if not found:
                return None
            f = np.mean([np.nan_to_num(f, posinf=LARGEST) for f, _ in found], axis=0)
            smallest = np.min([p for _, p in found], axis=0)
            self._anova[group.id] = (f, np.minimum(1, len(found) * smallest))
        return self._anova[group.id]

    def _activity_of_groups(self) -> Activity:
        """Watches what the groups' consumers read."""
        read = {(piece.tensor, piece.axis) for group in self.groups for piece in group.of_role("consumer")}
        wanted = [one for one in self.coupling.consumptions if (one.tensor, one.axis) in read]
        return Activity(wanted if "activations" in self.needs else [])

    def _gates(self) -> dict[str, list[Slice]]:
        """The weights that read each group; those that make it where no weight reads it."""
        return {group.id: group.of_role("consumer") or group.of_role("producer") for group in self.groups}

    def _sources_of_groups(self) -> Mapping[Node, Sequence[tuple[Group, int, Indices]]]:
        """The values in which each group is read, with the axis and positions of its units."""
        found: dict[Node, list[tuple[Group, int, Indices]]] = {}
        for group in self.groups:
            read = {(piece.tensor, piece.axis) for piece in group.of_role("consumer")}
            seen = set()
            for reading in self.coupling.consumptions:
                source, axis = reading.source, reading.input_axis
                if (reading.tensor, reading.axis) not in read or source in seen:
                    continue
                if None not in tensor_shape(source.meta["val"]):
                    continue  # the same for every image
                indices = self._indices(group, source, axis)
                if indices is not None:
                    seen.add(source)
                    found.setdefault(source, []).append((group, axis, indices))
        return found

    def _indices(self, group: Group, source: Node, axis: int) -> Indices | None:
        """Where a group's units are along an axis of a value, shape (units, width); None if not all are."""
        labels = self.coupling.axes[source.name][axis]
        assert isinstance(labels, np.ndarray)
        unit_of = np.full(int(self.coupling.class_of.max()) + 1, -1)
        units = self.coupling.unit_classes[group.id]
        unit_of[units] = np.arange(len(units))[:, None]
        owner = unit_of[self.coupling.class_of[labels]]
        places = [np.flatnonzero(owner == unit) for unit in range(len(units))]
        widths = {len(place) for place in places}
        return np.stack(places) if len(widths) == 1 and 0 not in widths else None


def _merge_into(held: dict[Node, ClassMoments], node: Node, more: ClassMoments) -> None:
    before = held.get(node)
    held[node] = more if before is None else before.merge(more)


def unit_columns(one: Consumer, piece: Slice) -> Indices:
    """Where each unit is among a layer's columns, in every block, shape (units, width * taps)."""
    columns = piece.indices[:, :, None] * one.map.taps + np.arange(one.map.taps)
    return np.asarray(columns.reshape(len(piece.indices), -1))
