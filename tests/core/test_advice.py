from __future__ import annotations

from edgeprune.core.advice import Precedent, Traits, advised

PLAIN, SEPARABLE = (
    Traits(macs=10**8, depthwise=0, gated=False),
    Traits(macs=10**8, depthwise=0.07, gated=False),
)
GATED = Traits(macs=10**8, depthwise=0.08, gated=True)


def precedent(network: str, traits: Traits, speedup: float, format: str = "onnx") -> Precedent:
    return Precedent(format=format, network=network, traits=traits, speedup=speedup, source="a table")


KNOWN = (
    precedent("ResNet", PLAIN, 3.0),
    precedent("ResNet", PLAIN, 3.02, "tflite"),
    precedent("MobileNetV2", SEPARABLE, 1.7),
    precedent("MobileNetV1", Traits(macs=10**8, depthwise=0.06, gated=False), 2.1),
    precedent("MobileNetV3", GATED, 0.6),
)


def test_advice_spans_the_precedents_most_like_the_network() -> None:
    found = advised("onnx", SEPARABLE, KNOWN, ["7 % of the multiply-accumulates are depthwise"])
    assert (found.lowest, found.highest) == (1.7, 2.1)
    assert found.words("pi") == (
        "int8 on pi, onnx: will give about 1.7-2.1x against float32 (MobileNetV2 1.70x, MobileNetV1 2.10x; "
        "7 % of the multiply-accumulates are depthwise)"
    )


def test_gates_count_more_than_any_share_and_a_slowdown_is_said() -> None:
    found = advised("onnx", Traits(macs=10**8, depthwise=0, gated=True), KNOWN, [])
    assert found.words("pi") == "int8 on pi, onnx: may not help (0.6x) against float32 (MobileNetV3 0.60x)"


def test_a_network_of_another_size_is_less_alike() -> None:
    small = precedent("digits", Traits(macs=10**6, depthwise=0, gated=False), 1.3)
    found = advised("onnx", Traits(macs=10**5, depthwise=0, gated=False), [*KNOWN, small], [])
    assert found.precedents == (small,)


def test_a_network_with_gates_is_no_precedent_for_one_without() -> None:
    assert advised("onnx", PLAIN, KNOWN[-1:], []).lowest is None


def test_without_a_precedent_nothing_is_foretold() -> None:
    found = advised("tflite", PLAIN, KNOWN[:1], [])
    assert found.words("pi") == "int8 on pi, tflite: no measured precedent for a network like this"


def test_what_was_measured_stands_beside_what_was_foretold() -> None:
    found = advised("tflite", PLAIN, KNOWN, []).model_copy(update={"measured": 2.5})
    assert found.words("pi").endswith("will give about 3.0x against float32 (ResNet 3.02x); measured 2.50x")
