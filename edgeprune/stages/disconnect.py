"""Disconnect: put zeros where a sparsity leaves connections out, and count those that are left."""

from __future__ import annotations

from edgeprune.core.errors import DocumentError
from edgeprune.core.sparsity import Sparsity
from edgeprune.graph.capture import Program
from edgeprune.graph.connections import disconnected, layers


def disconnect(program: Program, sparsity: Sparsity) -> Program:
    """A copy of the program with zeros in the place of every connection that does not stay.

    Raises
    ------
    DocumentError
        The sparsity was made for another network.
    """
    own = program.fingerprint()
    shapes = {layer.weight: layer.shape for layer in layers(program)}
    if sparsity.graph != own or {name: one.shape for name, one in sparsity.connections.items()} != shapes:
        raise DocumentError(
            f"sparsity: made for graph {sparsity.graph}, this network is {own}",
            hint="the network changed since; thin it again",
        )
    return disconnected(program, sparsity.masks())


def nonzeros(program: Program) -> tuple[dict[str, int], int]:
    """Weights that are not zero, by name, and all parameters that are not, biases and norms included."""
    tensors = program.tensors()
    weights = {layer.weight: int(tensors[layer.weight].count_nonzero()) for layer in layers(program)}
    trained = {id(one): one for one in program.module.parameters()}
    read = {id(one): one for one in tensors.values()}
    return weights, sum(int(one.count_nonzero()) for key, one in read.items() if key in trained)
