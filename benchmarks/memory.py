"""Peak memory of screening and compensation: `python -m benchmarks.memory resnet50 224 200 l2`.

Runs in a process of its own, so that the peak is the work's own; prints one JSON line. Weights are
random: for memory they do as well as trained ones.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.page import say
from edgeprune.core.foreign import import_torchvision
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.samples import Samples, Split
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple
from edgeprune.stages.compensate import compensate
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import replay

_SELECTION = 50


def main(network: str, size: int, images: int, criterion: str) -> None:
    """Halve a network's MACs without labels, and print the peak after every stage."""
    torch.manual_seed(0)
    model = import_torchvision().models.get_model(network)
    peaks: dict[str, float] = {}
    started = time.perf_counter()

    def note(stage: str) -> None:
        peaks[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        say(f"{network}: {stage}, {peaks[stage]:.2f} GB, {time.perf_counter() - started:.0f} s")

    coupling = couple(capture(model.eval(), (3, size, size)))
    del model
    calibration, selection = noise(images, (3, size, size), 0), noise(_SELECTION, (3, size, size), 1)
    note("load")
    # Magnitudes need no images: what is measured then is compensation alone.
    seen = None if criterion == "l2" else calibration
    ranks = screen(coupling, seen, build("criteria", criterion), name=criterion)
    note("screen")
    proposal = plan(coupling, ranks, Budget(speedup=2.0), multiple=8)
    program = replay(coupling, proposal)
    note("shrink")
    _, found = compensate(coupling, program, proposal, calibration, selection)
    note("compensate")
    print(json.dumps({"peaks_gb": peaks, "images": found.images, "seconds": time.perf_counter() - started}))


def section(folder: Path) -> list[str]:
    """The part of docs/benchmarks.md."""
    command = [sys.executable, "-m", "benchmarks.memory", "resnet50", "224", "240", "l2"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[1])
    found = json.loads(done.stdout)
    peaks = ", ".join(f"{stage} {peak:.2f} GB" for stage, peak in found["peaks_gb"].items())
    return [
        "## Memory of compensation",
        "",
        "resnet50 at 224 px with random weights and noise as images, half the MACs, ranked by magnitude.",
        "",
        f"{found['images']} of 240 images used, {found['seconds']:.0f} s. Peak resident memory by the end of "
        f"each step: {peaks}.",
    ]


def noise(count: int, size: tuple[int, ...], seed: int) -> Split:
    """Smooth noise as images, clips or sound: what is next to each other is alike."""
    random = np.random.default_rng(seed)
    cell = 16 if size[-1] >= 224 else 4
    images = random.integers(0, 256, (count, size[0], *(extent // cell + 1 for extent in size[1:])), np.uint8)
    for axis, extent in enumerate(size[1:], 2):
        images = images.repeat(cell, axis).take(np.arange(extent), axis)
    samples = Samples(count, lambda chosen: images[np.asarray(chosen)], None, "noise")
    return Split(samples, np.arange(count), Preprocess())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
