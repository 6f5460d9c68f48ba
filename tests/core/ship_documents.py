"""Bundles, shipments, shelves and fleets: one filled example of each."""

from __future__ import annotations

from core.device_documents import RUN
from edgeprune.core.artifact import Artifact, Tensor
from edgeprune.core.assets import Assets, RawTensor, SelfTest
from edgeprune.core.bundle import Bundle, BundleEntry, Golden, Requirements, Signature
from edgeprune.core.fleet import Fleet, Group, Rollout, Visit
from edgeprune.core.recipe import Preprocess
from edgeprune.core.shipment import ShelfStatus, ShelfVersion, Shipment

BUNDLE = Bundle(
    name="net",
    edgeprune="0.1.0",
    target="rpi4",
    artifact=Artifact(
        format="onnx", precision="fp32", path="model.onnx", bytes=3, sha256="ab" * 32, parent="cd34"
    ),
    requires=Requirements(
        system="Linux",
        machine="aarch64",
        model="Raspberry Pi 4",
        runtime="onnxruntime",
        runtime_version="1.22",
        threads=4,
    ),
    golden=Golden(inputs="golden/inputs.npy", outputs="golden/outputs.npy", tolerance=1e-4),
    latency_budget_ms=40.0,
    labels=("cat", "dog"),
    preprocess=Preprocess(mean=(0.5,), std=(0.25,)),
    entries=(BundleEntry(path="model.onnx", bytes=3, sha256="ab" * 32, executable=True),),
)
SHIPMENT = Shipment(
    to="pi@board:/opt/models/vision",
    version="0123456789ab",
    before="ba9876543210",
    uploaded_bytes=3,
    checked=RUN.files[0],
    removed=("aaaaaaaaaaaa",),
    notes=("it is not recognised as a Raspberry Pi 4: it has no model name",),
    seconds=3.5,
)
FLEET = Fleet(
    parallel=2,
    canary=1,
    failures=1,
    groups=(Group(name="shop", to=("pi@a:/opt/m", "pi@b:/opt/m"), python="edge/bin/python"),),
)
ASSETS = Assets(
    name="net",
    version="0123456789ab",
    signer="SHA256:abc",
    target="android-arm64",
    path="model.tflite",
    bytes=3,
    sha256="ab" * 32,
    format="tflite",
    precision="int8-static",
    runtime="litert",
    runtime_version="2.3.0",
    threads=4,
    inputs=(Tensor(name="input", shape=(1, 3, 8, 8), dtype="float32"),),
    outputs=(Tensor(name="output", shape=(1, 2), dtype="float32"),),
    labels=("cat", "dog"),
    preprocess=Preprocess(mean=(0.5,), std=(0.25,)),
    self_test=SelfTest(
        inputs=RawTensor(path="self_test_input.bin", shape=(1, 3, 8, 8), dtype="float32"),
        outputs=RawTensor(path="self_test_output.bin", shape=(1, 2), dtype="float32"),
        tolerance=0.05,
    ),
)
SHIP_EXAMPLES = (
    ASSETS,
    BUNDLE,
    Signature(public_key="ab" * 32, signature="cd" * 64),
    SHIPMENT,
    ShelfStatus(
        at="pi@board:/opt/models/vision",
        live="0123456789ab",
        versions=(
            ShelfVersion(
                name="0123456789ab",
                live=True,
                model="net",
                file="model.onnx",
                precision="fp32",
                bytes=3,
                target="rpi4",
            ),
        ),
        changing="me-desk",
        checked=RUN.files[0],
        problem="",
    ),
    FLEET,
    Rollout(
        version="0123456789ab",
        visits=(
            Visit(to="pi@a:/opt/m", group="shop", outcome="shipped", shipment=SHIPMENT),
            Visit(to="pi@b:/opt/m", group="shop", outcome="failed", why="it is off", hint="switch it on"),
        ),
        seconds=4.0,
    ),
)
