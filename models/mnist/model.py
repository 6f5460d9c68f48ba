"""The three networks for MNIST in which pruning methods have been compared since 2015."""

from __future__ import annotations

from torch import nn


def lenet_300_100() -> nn.Module:
    """Build LeNet-300-100: 266,200 weights and 410 biases in three linear layers."""
    return nn.Sequential(nn.Flatten(), *_hidden(784, 300), *_hidden(300, 100), nn.Linear(100, 10))


def lenet_5() -> nn.Module:
    """Build LeNet-5-Caffe, 20-50-500-10: 430,500 weights and 580 biases; 5x5 kernels, max pooling."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
        *(nn.Flatten(), *_hidden(50 * 4 * 4, 500), nn.Linear(500, 10)),
    )


def mlp() -> nn.Module:
    """Build the perceptron 784-500-300-10: 545,000 weights and 810 biases."""
    return nn.Sequential(nn.Flatten(), *_hidden(784, 500), *_hidden(500, 300), nn.Linear(300, 10))


def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(inputs, outputs), nn.ReLU()
