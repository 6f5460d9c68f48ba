"""Recurrent layers: a hidden unit is one index in every gate, layer and direction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from zoo import Net

from edgeprune.graph.couple import Coupling
from edgeprune.graph.surgery import shrink
from graph.labels import assert_exact, classes, free, keeping, situation, why_locked, wired

GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def reading(layer: nn.RNNBase, *, width: int = 5) -> Coupling:
    """Tokens of 4 numbers, embedded, read by the layer, its whole answer classified."""
    out = layer.hidden_size * (2 if layer.bidirectional else 1)
    return wired(
        lambda net, x: net.head(net.read(net.embed(x))[0]),
        *(6, 4),
        embed=nn.Linear(4, width),
        read=layer,
        head=nn.Linear(out, 3),
    )


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_inputs_and_hidden_units_are_cut_exactly(
    kind: type[nn.RNNBase], layers: int, bidirectional: bool, bias: bool
) -> None:
    layer = kind(5, 6, num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=True)
    coupling = reading(layer)

    assert free(coupling) == {"embed": 5, "read.weight_ih_l0": 6}
    assert_exact(coupling)


@pytest.mark.parametrize("kind", GATES)
def test_a_unit_is_a_row_of_every_gate_and_a_column_of_what_reads_it(kind: type[nn.RNNBase]) -> None:
    coupling = reading(kind(5, 6, num_layers=2, bidirectional=True, batch_first=True))
    gates = GATES[kind]
    hidden = classes(coupling, "read.weight_ih_l0", 0)[:6]

    assert len(set(hidden)) == 6
    for name in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for tensor in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            assert classes(coupling, f"read.{tensor}_{name}", 0) == hidden * gates
        assert classes(coupling, f"read.weight_hh_{name}", 1) == hidden
    embed = classes(coupling, "embed.weight", 0)
    assert classes(coupling, "read.weight_ih_l0", 1) == embed
    assert classes(coupling, "read.weight_ih_l0_reverse", 1) == embed
    assert classes(coupling, "read.weight_ih_l1", 1) == hidden * 2
    assert classes(coupling, "head.weight", 1) == hidden * 2


def test_roles_of_a_recurrent_layer() -> None:
    (group,) = (one for one in reading(nn.GRU(5, 6, batch_first=True)).groups if one.units == 6)

    assert {(one.tensor, one.axis) for one in group.of_role("producer")} == {("read.weight_ih_l0", 0)}
    assert {(one.tensor, one.axis) for one in group.of_role("consumer")} == {
        ("read.weight_hh_l0", 1),
        ("head.weight", 1),
    }


def test_the_rows_that_stay_are_those_of_each_gate() -> None:
    coupling = reading(nn.LSTM(5, 6, batch_first=True))
    before = coupling.program.tensors()["read.weight_hh_l0"]
    after = shrink(coupling, keeping(coupling, read__weight_ih_l0=(1, 4))).tensors()["read.weight_hh_l0"]

    assert torch.equal(after, before[[1, 4, 7, 10, 13, 16, 19, 22]][:, [1, 4]])


def test_time_first_is_as_good_as_batch_first() -> None:
    coupling = wired(
        lambda net, x: net.head(net.read(net.embed(x).transpose(0, 1))[0][-1]),
        *(6, 4),
        embed=nn.Linear(4, 5),
        read=nn.LSTM(5, 6),
        head=nn.Linear(6, 3),
    )

    assert free(coupling) == {"embed": 5, "read.weight_ih_l0": 6}
    assert_exact(coupling)


def test_an_initial_state_that_is_computed_goes_with_the_hidden_units() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        start = net.start(x.mean(1)).unsqueeze(0)
        return net.head(net.read(net.embed(x), start)[0])

    coupling = wired(
        wiring,
        *(6, 4),
        embed=nn.Linear(4, 5),
        start=nn.Linear(4, 6),
        read=nn.GRU(5, 6, batch_first=True),
        head=nn.Linear(6, 3),
    )

    assert classes(coupling, "start.weight", 0) == classes(coupling, "read.weight_hh_l0", 1)
    assert sorted(free(coupling).values()) == [5, 6]
    assert_exact(coupling)


def test_both_states_of_an_lstm_are_given_and_read() -> None:
    def wiring(net: Net, x: Tensor) -> Tensor:
        start = net.start(x.mean(1)).unsqueeze(0)
        _, (hidden, cell) = net.read(net.embed(x), (start, start.tanh()))
        return net.head(torch.cat([hidden[0], cell[0]], 1))

    coupling = wired(
        wiring,
        *(6, 4),
        embed=nn.Linear(4, 5),
        start=nn.Linear(4, 6),
        read=nn.LSTM(5, 6, batch_first=True),
        head=nn.Linear(12, 3),
    )
    hidden = classes(coupling, "read.weight_hh_l0", 1)

    assert classes(coupling, "head.weight", 1) == hidden * 2
    assert_exact(coupling)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_layer_with_projections_is_locked_as_a_whole() -> None:
    coupling = wired(
        lambda net, x: (
            net.head(net.read(net.embed(x))[0]) + net.head(net.read(net.embed(x))[1][0])[0, :, None]
        ),
        *(6, 4),
        embed=nn.Linear(4, 5),
        read=nn.LSTM(5, 6, proj_size=3, batch_first=True),
        head=nn.Linear(3, 2),
    )

    assert free(coupling) == {}
    assert why_locked(coupling, "embed").startswith("a recurrent layer with projections (aten.lstm.input, ")


def test_a_recurrent_matrix_that_is_computed_is_locked() -> None:
    """Weight-normed recurrent weights, as some language models have them."""
    layer = nn.GRU(5, 6, batch_first=True)
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    coupling = reading(layer)

    assert free(coupling) == {}
    assert why_locked(coupling, "embed").startswith(
        "read by a weight whose channels cannot be followed (aten.gru.input, "
    )


def test_the_zoo_has_two_layers_both_ways_and_the_last_state() -> None:
    coupling = situation("recurrent")
    lstm, gru = (classes(coupling, f"{name}.weight_ih_l0", 0) for name in ("lstm", "gru"))

    assert classes(coupling, "gru.weight_ih_l0", 1) == lstm[:8] * 2
    assert classes(coupling, "head.weight", 1) == gru[:6] * 2
    assert_exact(coupling)
