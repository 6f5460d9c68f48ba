"""Replay: the values of plain execution, for all batches at once, and no longer than needed."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor
from torch.fx import Node
from zoo import SITUATIONS

from edgeprune.graph.capture import Program, capture
from edgeprune.graph.replay import Replay, observe


def program_of(name: str) -> Program:
    one = SITUATIONS[name]
    return capture(one.build(), one.input_size)


def computed(program: Program) -> list[Node]:
    return [
        node
        for node in program.graph.nodes
        if node.op == "call_function" and isinstance(node.meta["val"], Tensor)
    ]


@pytest.mark.parametrize("name", ["chunk_cat", "inplace_relu_residual", "mha_written_out", "channel_shuffle"])
def test_values_are_those_of_plain_execution(name: str) -> None:
    program = program_of(name)
    nodes = computed(program)
    batches = [program.example(3, seed=1), program.example(2, seed=2)]
    replay = Replay(program, batches, nodes)
    replay.run_to(nodes[-1])

    for index, batch in enumerate(batches):
        seen: dict[Node, Tensor] = {}
        output = observe(program, batch, nodes, seen.__setitem__)
        assert torch.equal(output, program.run(batch))
        assert list(seen) == nodes
        for node in nodes:
            assert torch.equal(replay.value(node)[index], seen[node])


def test_values_die_after_their_last_reader() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    replay = Replay(program, [program.example(2)], [])
    alive = []
    for node in nodes:
        replay.run_to(node)
        alive.append(sum(replay.has(one) for one in nodes))

    # At most the stem's output, for the sum, beside what is being worked on.
    assert max(alive) == 2
    assert [node for node in nodes if replay.has(node)] == [nodes[-1]]


def test_a_dead_value_leaves_the_memory() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    replay = Replay(program, [program.example(2)], [])
    replay.run_to(nodes[0])
    value = weakref.ref(replay.value(nodes[0])[0])
    assert value() is not None

    replay.run_to(nodes[2])
    gc.collect()

    assert value() is None


def test_a_pinned_value_lives_until_every_pin_is_released() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    first = nodes[0]
    replay = Replay(program, [program.example(2)], [first, first])
    replay.run_to(nodes[-1])

    assert replay.has(first)
    replay.release(first)
    assert replay.has(first)
    replay.release(first)
    assert not replay.has(first)


def test_nothing_is_computed_before_it_is_asked_for_nor_twice() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    replay = Replay(program, [program.example(2)], nodes)

    replay.run_to(nodes[1])
    value = replay.value(nodes[1])[0]
    replay.run_to(nodes[0])

    assert not replay.has(nodes[2])
    assert replay.value(nodes[1])[0] is value


def test_replay_leaves_no_gradients() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    replay = Replay(program, [program.example(2)], [])
    replay.run_to(nodes[-1])

    assert not replay.value(nodes[-1])[0].requires_grad


def test_between_two_stops_only_what_is_read_later_is_held() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    batches = [program.example(2, seed=seed) for seed in range(5)]
    most: list[int] = []
    replay = Replay(program, batches, watch=lambda batch, node, value: most.append(replay.held_bytes()))
    replay.run_to(nodes[-1])

    # Five batches' outputs, and at any time the intermediate values of one batch.
    output = sum(value.nbytes for value in replay.value(nodes[-1]))
    assert replay.held_bytes() == output
    one_batch = Replay(program, batches[:1], pinned=nodes)
    one_batch.run_to(nodes[-1])
    assert max(most) <= one_batch.held_bytes() + output


def test_a_watcher_sees_every_value_of_every_batch() -> None:
    program = program_of("residual_add")
    nodes = computed(program)
    seen: list[tuple[int, Node]] = []
    batches = [program.example(1, seed=seed) for seed in range(3)]
    replay = Replay(program, batches, watch=lambda batch, node, value: seen.append((batch, node)))
    replay.run_to(nodes[1])

    assert {(batch, node) for batch, node in seen if node in nodes} == {
        (batch, node) for batch in range(3) for node in nodes[:2]
    }
