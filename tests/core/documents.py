"""One filled example of every kind of document, as small as it can be and with no field left out."""

from __future__ import annotations

import numpy as np

from core.device_documents import DEVICE_EXAMPLES
from core.ship_documents import SHIP_EXAMPLES
from edgeprune.core import quantization
from edgeprune.core.application import Application
from edgeprune.core.artifact import Artifact, Tensor
from edgeprune.core.capsule import Capsule, CapsulePackage
from edgeprune.core.comparison import Comparison, Row
from edgeprune.core.contents import Contents
from edgeprune.core.document import Document
from edgeprune.core.drop import Drop, DropClaim
from edgeprune.core.emulation import EmulatedFile, Emulation, Instructions, Likeness
from edgeprune.core.explanation import Explanation, LayerExplanation, Membership, Step
from edgeprune.core.glibc import GlibcNeeds
from edgeprune.core.inputs import InputSize
from edgeprune.core.inspection import Ceiling, GroupRow, Inspection, LayerRow, Lock
from edgeprune.core.journal import Entry, Journal
from edgeprune.core.narrowing import Narrowing
from edgeprune.core.packages.lock import PackageLock, Pin
from edgeprune.core.plan import Cost, Cut, GroupDifference, Plan, PlanDifference, PlanSide
from edgeprune.core.profiling import ProfiledFile, Profiling
from edgeprune.core.quantization import Fallback, Guard, Quantization
from edgeprune.core.recipe import Preprocess, Recipe
from edgeprune.core.recovery import Recovery
from edgeprune.core.report import (
    Baseline,
    ClassDrop,
    Compensation,
    Costs,
    DeliveredArtifact,
    Deviation,
    Device,
    Finetuning,
    ImageCounts,
    Latency,
    Proof,
    Qualities,
    Quality,
    Report,
    Thinned,
)
from edgeprune.core.request import Budget, Images, Look, Request
from edgeprune.core.screening import (
    Agreement,
    Candidate,
    Choice,
    GroupScreening,
    RankStability,
    Screening,
    ServedClasses,
)
from edgeprune.core.search import Search, Trial
from edgeprune.core.size import SizeClaim
from edgeprune.core.sparsity import Connections, Sparsity
from edgeprune.core.target import Channels, Fact, Host, Target
from edgeprune.core.thinning import Thinning
from edgeprune.core.timing import Timing
from edgeprune.core.zeros import Zeros

COST = Cost(parameters=1000, macs=20_000, weight_bytes=4000, peak_activation_bytes=8192)
LESS = Cost(parameters=500, macs=10_000, weight_bytes=2000, peak_activation_bytes=4096)
QUALITY = Quality(top1=91.5, images=200, interval=(86.8, 94.6))
DROP = Drop(both_right=180, lost=5, gained=3, both_wrong=12)
SEARCH = Search(
    at_most=1.0,
    confidence=0.9,
    answers="right",
    images=200,
    narrows="macs",
    trials=(
        Trial(asked=11_000, reached=10_000, cost=LESS, drop=DROP, certainty=0.5, held=False, seconds=2.5),
    ),
)
LOST = Drop(both_right=120, lost=60, gained=0, both_wrong=20)
QUANTIZATION = Quantization(
    operators=7,
    images=200,
    guard=Guard(at_most=1.0, confidence=0.9, against="original", answers="right"),
    trials=(
        quantization.Trial(ranges="min-max", repaired=False, snr_db=0.5),
        quantization.Trial(ranges="mse", repaired=True, snr_db=None),
    ),
    ranges="mse",
    repaired=True,
    before=quantization.Step(drop=LOST, bytes=4321, p50_ms=0.5),
    fallbacks=(
        Fallback(
            operators=("pkg.Net/torch.nn.modules.conv.Conv2d_stem;", "node_relu"),
            kind="Conv Relu",
            snr_db=0.25,
            drop=LOST.model_copy(update={"both_right": 150, "lost": 30}),
            bytes=5000,
        ),
        Fallback(operators=("node_conv2d_1",), kind="Conv", snr_db=None, drop=DROP, bytes=6000, p50_ms=0.75),
    ),
    after=quantization.Step(drop=DROP, bytes=6000, p50_ms=0.75),
    holds=True,
)
REFUSED = QUANTIZATION.model_copy(update={"fallbacks": (), "holds": False})
TIMING = Timing(samples_ns=(1_100_000, 900_000, 1_000_000, 4_000_000), warmup=2, threads=1)
DEVICE = Device(
    name="box (a cpu)",
    machine="x86_64",
    cpu="a cpu",
    cores=2,
    governor=None,
    clock_mhz=2100.0,
    temperature_c=None,
    load_average=0.5,
)
TARGET = Target(
    name="board",
    summary="A board",
    host=Host(machine="riscv64", model="Board 1"),
    runtimes={"onnx": "onnxruntime", "tflite": "litert"},
    precisions=("fp32", "int8-static"),
    threads=4,
    channels=Channels(multiple=8, source="its manual"),
    physics={"memory": Fact(value=4.0, unit="GB", source="its manual")},
)
REQUEST = Request(
    model="net",
    model_sha256="ab12",
    arch="model.py:net",
    arch_base="/home/me",
    input=(3, 16, 16),
    data="npz:data.npz",
    data_base="/home/me",
    labels=("cat", "dog"),
    preprocess=Preprocess(crop=16, scale=255.0, mean=(0.5,), std=(0.2, 0.2, 0.2)),
    target="board",
    budget=Budget(
        speedup=2.0,
        macs=10_000,
        parameters=500,
        size=9000,
        size_of="fp16",
        max_drop=1.0,
        confidence=0.9,
    ),
    thinning=Thinning(times=70.0, scope="layer", rounds=3),
    criterion="l2",
    images=Images(calibration=10, selection=5, test=20),
    rounds=2,
    epochs=1,
    recovery=Recovery(learning_rate=0.01, batch=64, augment="flip", command="train {model} {out}"),
    formats=("onnx",),
    precisions=("fp16", "int8-static"),
    quantized_drop=0.5,
    seed=3,
    trust_pickle=True,
    allow_inexact=("layer_norm",),
)
THINNED = Thinned(
    budget=">= 2x fewer weights",
    rounds=3,
    weights={"body.weight": 108, "head.weight": 8},
    kept={"body.weight": 54, "head.weight": 4},
    parameters=64,
    units_gone=1,
    whole={"stem.weight": "3 inputs, no multiple of 4"},
    zeros=Zeros(
        skipped={"onnxruntime": False, "other": None},
        published={"sparse_fp32_speedup": Fact(value=1.4, unit="x", source="a table")},
    ),
    note="no labels",
)
LOCK = Lock(why="the network's output", operator="output", source="net.py:7", hint="nothing")
LAYER = LayerRow(
    path="body", operator="aten.conv2d.default", source="net.py:2", reads=3, makes=4, groups=("body",)
)

PLAN = Plan(
    graph="f00",
    input=(3, 16, 16),
    criterion="l2",
    budget=">= 2x fewer MACs",
    seed=3,
    before=COST,
    after=LESS,
    cuts=(Cut(group="body", units=4, kept=(0, 3)),),
    tensors={"body.weight": Narrowing(shape=(4, 3, 3, 3), kept={0: (0, 3)}, persistent=False)},
    dropped=("gone.weight",),
    locked={"stem": "its answers differ"},
)
SPARSITY = Sparsity(
    graph="f00",
    criterion="screening",
    options={"alpha": 0.1, "norm": "minmax"},
    choice=Choice(images=5, candidates=(Candidate(options={"alpha": 0.1}, harm=0.5),)),
    budget=">= 2x fewer weights",
    seed=3,
    images=10,
    connections={"head.weight": Connections.of(np.arange(8).reshape(2, 4) % 2 == 0)},
    whole={"stem.weight": "3 inputs, no multiple of 4"},
)
SIDE = PlanSide(name="plan.json", criterion="l2", budget="half", before=COST, after=LESS)


def an_artifact(precision: str = "fp32", format: str = "onnx") -> Artifact:
    name = "model" if precision == "fp32" else f"model.{precision}"
    return Artifact(
        format=format,
        precision=precision,
        path=f"{name}.{format}",
        bytes=4321,
        sha256=f"{precision} {format}",
        parent="cd34",
        inputs=(Tensor(name="input", shape=(None, 3, 16, 16), dtype="float32"),),
        outputs=(Tensor(name="output", shape=(None, 2), dtype="float32"),),
    )


def measured(*, milliseconds: float = 1.0, samples: tuple[int, ...] = ()) -> Latency:
    """A measurement; without samples, around as many milliseconds as are told."""
    taken = samples or tuple(int(milliseconds * 1e6) + shift for shift in range(-500, 501, 100))
    timing = Timing(samples_ns=taken, warmup=2, threads=1)
    return Latency(
        kind="measured",
        device=DEVICE.name,
        runtime="onnxruntime",
        runtime_version="1.0",
        p50_ms=timing.p50_ms,
        p95_ms=timing.p95_ms,
        p99_ms=timing.p99_ms,
        timing=timing,
    )


def delivered(
    precision: str = "fp32",
    format: str = "onnx",
    *,
    here: Latency | None = None,
    there: Latency | None = None,
    quality: Quality | None = QUALITY,
) -> DeliveredArtifact:
    """A file with a latency on this machine, on the target, on both or on neither."""
    return DeliveredArtifact(
        **an_artifact(precision, format).model_dump(),
        quality=quality,
        drop=DROP if quality else None,
        agreement=100.0,
        deviation=Deviation(images=200, max_abs=1e-6, relative=2e-7),
        passed=True,
        latency=there or Latency(kind="none", device="board", note="not measured on the device"),
        latency_here=here,
    )


def a_report(
    *artifacts: DeliveredArtifact,
    cpu: str = DEVICE.cpu,
    thinned: Thinned | None = None,
    refused: bool = False,
) -> Report:
    return Report(
        command="edgeprune compress net.pt --target board",
        seed=3,
        versions={"edgeprune": "0.1.0", "python": "3.11.7"},
        model="net",
        model_sha256="ab12",
        target="board",
        taken_at="2025-01-02T03:04:05+00:00",
        device=DEVICE.model_copy(update={"cpu": cpu}),
        data="npz:data.npz",
        labels=("cat", "dog"),
        images=ImageCounts(calibration=10, selection=5, test=200),
        criterion="l2",
        budget=">= 2x fewer MACs",
        rounds=2,
        cost=Costs(before=COST, after=LESS),
        groups=2,
        locked={"head": "the network's output"},
        proof=Proof(
            inputs=2,
            relative_error=1e-16,
            refused={"body": "its answers differ"},
            inexact={"stem": ("layer_norm",)},
        ),
        compensation=Compensation(
            images=10, refitted=2, divergence_before=0.5, divergence_after=0.1, kept=True
        ),
        finetuning=Finetuning(
            epochs=1,
            images=100,
            labelled=True,
            batch=128,
            learning_rate=0.01,
            augment="flip",
            processes=2,
            precision="float32",
            losses={"start": 0.5, "last": 0.25, "averaged": None},
            kept="last",
        ),
        thinned=thinned,
        quality=Qualities(
            original=QUALITY,
            shrunk=QUALITY,
            drop=DROP,
            classes=(ClassDrop(name="cat", drop=DROP, p_value=1.0),),
            worst="cat",
            agreement=None,
            note="",
        ),
        search=SEARCH,
        claim=DropClaim(at_most=1.0, confidence=0.9, answers="right", drop=DROP),
        size=SizeClaim(asked=9000, path="model.onnx", predicted=2200, bytes=2000),
        artifacts=artifacts or (delivered(here=measured()),),
        baseline=(Baseline(**an_artifact().model_dump(), latency=measured(), latency_here=None),),
        refused={"model.int8w-int16a.onnx": REFUSED} if refused else {},
        broken=("no int8w-int16a onnx file keeps to the bound",) if refused else (),
        warnings=("mind the gap",),
        timing_s={"load": 0.1, "screen": 2.0},
    )


PIN = Pin(name="libc6", version="2.36", file="libc6.deb", sha256="0" * 64)
CAPSULE = Capsule(
    runtime="litert",
    arch="aarch64",
    python="3.11",
    packages=(CapsulePackage(name="libc6", version="2.36", sha256="0" * 64),),
    files=3,
    bytes=1000,
    sha256="1" * 64,
)
EMULATION = Emulation(
    qemu="7.2",
    host="a cpu",
    inputs="4 of seeded noise",
    uncounted="no compiler",
    files=(
        EmulatedFile(
            path="model.onnx",
            sha256="2" * 64,
            format="onnx",
            precision="fp32",
            board="rpi4",
            runtime="onnxruntime",
            version="1.32.0",
            likeness=Likeness(
                inputs=4, equal=False, differing=0.5, max_abs=0.1, relative=0.01, max_lsb=0.5, top1=75
            ),
            instructions=Instructions(
                total=100,
                float_multiply_add=40,
                dot_product=1,
                integer_multiply_add=2,
                load_store=30,
                branch=10,
                totals=(100, 101),
            ),
            passed=False,
            why="it differs",
        ),
    ),
)
EXAMPLES: tuple[Document, ...] = (
    CAPSULE,
    EMULATION,
    PackageLock(
        python="3.11",
        debian={"aarch64": {"capsule": (PIN,)}},
        wheels={"armhf": {"tflite-runtime": (PIN,)}},
        needs={"armhf": {"tflite-runtime": GlibcNeeds((2, 34), "a.so", (3, 4, 30), "b.so")}},
    ),
    Contents(
        path="model.tflite",
        format="tflite",
        bytes=1000,
        sha256="3" * 64,
        made_for="TFLite 1.14.0",
        precision="int8-static",
        inputs=(Tensor(name="input", shape=(1, 3, 8, 8), dtype="float32"),),
        outputs=(Tensor(name="output", shape=(1, 4), dtype="float32"),),
        operators={"CONV_2D": 2},
        transposes=1,
        weights={"int8": 500},
        notes={"plan": "4" * 64},
    ),
    *DEVICE_EXAMPLES,
    *SHIP_EXAMPLES,
    TARGET,
    REQUEST,
    a_report(
        delivered("int8-static", here=measured()).model_copy(update={"quantization": QUANTIZATION}),
        thinned=THINNED,
        refused=True,
    ),
    SPARSITY,
    Recipe(arch="model.py:net", input="3x16x16", data="npz:data.npz", labels=("cat", "dog"), augment="none"),
    PLAN,
    Application(
        model="net",
        plan=PLAN,
        proof=Proof(inputs=2, relative_error=1e-16, refused={}),
        files=("net.pt2",),
    ),
    PlanDifference(
        graph="f00",
        first=SIDE,
        second=SIDE,
        groups=(
            GroupDifference(
                group="body", units=4, kept_first=2, kept_second=4, only_first=(), only_second=(1, 2)
            ),
        ),
        only_first=("body",),
        only_second=("stem",),
    ),
    Screening(
        criterion="screening",
        options={"alpha": 0.3, "norm": "rank"},
        choice=Choice(images=5, candidates=(Candidate(options={"alpha": 0.3, "norm": "rank"}, harm=0.2),)),
        images=10,
        classes=3,
        labels=("cat", "dog", "ship"),
        groups={
            "body": GroupScreening(
                scores=(0.5, -1.5e-07),
                order=(1, 0),
                harm=(0.0, 0.25),
                magnitude=(1.0, 2.0),
                f_statistic=(3.0, 1e12),
                p_value=(0.04, 0.0),
                significant=2,
                welch_f=(2.5, 1e12),
                omega_squared=(0.1, 1.0),
                required_images=90,
                stability=RankStability(
                    images=Agreement(mean=0.9, interval=(0.8, 1.0)),
                    classes=Agreement(mean=0.5, interval=(-1.0, 1.0)),
                    lowest_half=(0.95, 0.05),
                ),
                classes=ServedClasses(serves=(2, 0), contrast=(2.1, 1e12), lost=(0.1, 0.2, 0.9)),
            )
        },
    ),
    Journal(request=REQUEST, stages={"load": Entry(seconds=0.1, files={"model.pt2": "ab12"})}),
    Inspection(
        graph="f00",
        inputs=(InputSize(size=(3, 16, 16)),),
        cost=COST,
        least=LESS,
        beyond=Ceiling(allow=("layer_norm",), least=LESS),
        groups=(
            GroupRow(
                id="body",
                kind="channels",
                units=4,
                members=("body.weight",),
                names=("first", "second", "third", "fourth"),
                macs=10,
                parameters=5,
                locked=LOCK,
                inexact=("layer_norm",),
                lanes=2,
            ),
        ),
        layers=(LAYER,),
    ),
    Explanation(
        graph="f00",
        inputs=(InputSize(size=(3, 16, 16)), InputSize(size=(5,), below=7)),
        asked="body",
        layers=(
            LayerExplanation(
                layer=LAYER,
                sources=("stem",),
                reads_groups=("stem",),
                groups=(
                    Membership(
                        group="body",
                        kind="channels",
                        units=4,
                        locked=LOCK,
                        inexact=("group_norm",),
                        macs=10,
                        parameters={"body.weight": 5},
                    ),
                ),
                steps=(
                    Step(
                        does="meet",
                        operator="aten.add.Tensor",
                        layer="block",
                        source="net.py:3",
                        others=("stem",),
                    ),
                ),
                branches=("block",),
            ),
        ),
    ),
    Look(
        model="net",
        arch="model.py:net",
        arch_base="/home/me",
        inputs=(InputSize(size=(5,), below=7),),
        trust_pickle=True,
        allow_inexact=("layer_norm",),
    ),
    Profiling(
        target="board",
        at_hand=False,
        device=DEVICE,
        files=(ProfiledFile(artifact=an_artifact(), latency=measured()),),
    ),
    Comparison(
        before="a",
        after="b",
        same_device=True,
        rows=(
            Row(
                format="onnx",
                precision="fp32",
                bytes_before=2,
                bytes_after=1,
                top1_before=90.0,
                top1_after=None,
                p50_ms_before=2.0,
                p50_ms_after=1.0,
                ratio=0.5,
                interval=(0.4, 0.6),
                verdict="faster",
            ),
        ),
        only_before=("tflite fp32",),
    ),
)
