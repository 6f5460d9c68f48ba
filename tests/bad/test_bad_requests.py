"""The museum of bad requests: each gives one error, one hint, exit code 2, and makes no file."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from bad.conftest import Compress, nothing_was_made

REFUSED = {
    "--speedup 1": ("--speedup 1 asks for nothing", "give a number above 1"),
    "--speedup 0.5": ("--speedup 0.5 asks for nothing", "give a number above 1"),
    "--speedup nan": ("--speedup nan asks for nothing", "give a number above 1"),
    "--speedup inf": ("--speedup inf asks for nothing", "give a number above 1"),
    "--size -5": ("--size '-5' is not a count", "write it like 60M, 1500k or 1234"),
    "--size 0": ("--size '0' is not a count", "write it like 60M, 1500k or 1234"),
    "--size 9k:int9": (
        "--size: unknown precision 'int9'",
        "known: fp16, fp32, int4-weight-only, int8-static, int8-weight-only, int8w-int16a",
    ),
    "--size 9k:int8": (
        "--size: unknown precision 'int8'",
        "did you mean 'int8-static'? known: fp16, fp32, int4-weight-only, int8-static, "
        "int8-weight-only, int8w-int16a",
    ),
    "--size 9k:int8-static --precision fp16": (
        "--size bounds a int8-static file, which --precision leaves out",
        "known: fp16, fp32",
    ),
    "--precision int8": (
        "no onnx or tflite file can be made in precision 'int8'",
        "did you mean 'int8-static'? known: fp16, fp32, int4-weight-only, "
        "int8-dynamic, int8-static, int8-weight-only, int8w-int16a",
    ),
    "--precision fp61 --format onnx": (
        "no onnx file can be made in precision 'fp61'",
        "did you mean 'fp16'? known: fp16, fp32, int4-weight-only, "
        "int8-dynamic, int8-static, int8-weight-only, int8w-int16a",
    ),
    "--quantized-drop 0": ("--quantized-drop 0 bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--quantized-drop nan": ("--quantized-drop nan bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--quantized-drop 101": ("--quantized-drop 101 bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--quantized-drop 1 --max-drop 1": (
        "--quantized-drop beside --max-drop",
        "leave it out: what --max-drop allows is kept to by every file",
    ),
    "--max-drop nan": ("--max-drop nan bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--max-drop -1": ("--max-drop -1 bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--max-drop 100": ("--max-drop 100 bounds nothing", "give points of accuracy: 1 or 0.5"),
    "--max-drop 1 --confidence 95": (
        "--confidence 95 is not between 0.5 and 1",
        "write 95 % like this: 0.95",
    ),
    "--max-drop 1 --confidence nan": (
        "--confidence nan is not between 0.5 and 1",
        "write 95 % like this: 0.95",
    ),
    "--confidence 0.9": ("--confidence without --max-drop", "say how much may be lost: --max-drop 1"),
    "--max-drop 1 --input 1x6x6": (
        "--max-drop needs images to judge by",
        "give --data; without labels the answers are compared with the original's",
    ),
    "--max-drop 1 --rounds 2 --data npz:d.npz": (
        "--max-drop searches by single cuts, --rounds makes several",
        "search first, then give the budget it found with --rounds",
    ),
    "--max-drop 1 --data npz:d.npz": (
        "7 selection images cannot show a drop within 1 point at 95 %, even if not one answer changes",
        "it takes 268, and more where answers change: --selection-images 536, or a looser --max-drop",
    ),
    "--rounds 2 --input 1x6x6": (
        "--rounds needs images: without them nothing is refitted or screened anew in between",
        "give --data, or leave --rounds out",
    ),
    "--macs 60Q": ("--macs '60Q' is not a count", "write it like 60M, 1500k or 1234"),
    "--macs 0": ("--macs '0' is not a count", "write it like 60M, 1500k or 1234"),
    "--params some": ("--params 'some' is not a count", "write it like 60M, 1500k or 1234"),
    "--input 3x224xx": (
        "--input '3x224xx' is not a size",
        "write channels x height x width: 3x224x224",
    ),
    "--input 3x0x224": (
        "--input '3x0x224' is not a size",
        "write channels x height x width: 3x224x224",
    ),
    "--format onxn": (
        "unknown format 'onxn'",
        "did you mean 'onnx'? known: executorch, ncnn, onnx, openvino, pt2, tflite",
    ),
    "--criterion screning": (
        "unknown criterion 'screning'",
        "did you mean 'screening'? known: bn-scale, f, fpgm, group-l2, l1, l2, lamp, random, refit, "
        "screening, taylor, wanda, welch",
    ),
    "--criterion screening --input 1x6x6": (
        "criterion 'screening' needs labelled images",
        "give --data, or choose a data-free criterion: l2, l1, group-l2, bn-scale, fpgm, lamp, random",
    ),
    "--criterion taylor --input 1x6x6": (
        "criterion 'taylor' needs images",
        "give --data, or choose a data-free criterion: l2, l1, group-l2, bn-scale, fpgm, lamp, random",
    ),
    "--criterion screening?alpha=2": (
        "criterion 'screening': alpha: input should be less than or equal to 1",
        "correct its options, or reinstall the package it comes from",
    ),
    "--criterion screening?alhpa=1": (
        "criterion 'screening': unknown option 'alhpa'",
        "did you mean 'alpha'?",
    ),
    "--epochs 1 --input 1x6x6": ("--epochs needs images to train on", "give --data"),
    "--epochs 1 --data npz:d.npz --train-command t{model}{out}": (
        "--epochs and --train-command train twice",
        "your command decides how long it trains",
    ),
    "--train-command t{model}": (
        "--train-command does not say {out}",
        'write it like "python train.py --weights {model} --out {out}"',
    ),
    "--augment flip": ("--augment without --epochs", "say how long to train: --epochs 10"),
    "--augment flop": (
        "unknown augmentation 'flop'",
        "did you mean 'flip'? known: flip, none, shift",
    ),
    "--learning-rate 0.1": ("--learning-rate without --epochs", "say how long to train: --epochs 10"),
    "--batch-size 64": ("--batch-size without --epochs", "say how long to train: --epochs 10"),
    "--learning-rate nan": ("--learning-rate nan teaches nothing", "give a number above 0"),
    "--learning-rate -1": ("--learning-rate -1 teaches nothing", "give a number above 0"),
    "--granularity connection": (
        "nothing says how many connections stay",
        "give one of them: --sparsity 70x or --pattern 2:4",
    ),
    "--granularity conection --sparsity 3x": (
        "unknown --granularity 'conection'",
        "did you mean 'connection'? known: channel, connection",
    ),
    "--granularity connection --sparsity 0.9": (
        "--sparsity 0.9 has no x",
        "it counts times fewer weights: write 10x for 90 % zeros",
    ),
    "--granularity connection --pattern 4:2": (
        "--pattern '4:2' is no pattern",
        "write 2:4: of every four inputs two stay connected",
    ),
    "--sparsity 3x": (
        "--sparsity is for single connections, and channels are cut",
        "add --granularity connection, or say how small with --speedup, --macs or --params",
    ),
    "--granularity connection --sparsity 3x --macs 1k": (
        "the budget <= 1000 MACs needs whole channels to go: zeros are computed like other numbers",
        "say how many weights stay with --sparsity 70x, or leave --granularity connection out",
    ),
    "--granularity connection --sparsity 3x --data npz:d.npz --max-drop 1": (
        "--max-drop needs whole channels to go: its search for the smallest network cuts nothing else",
        "say how many weights stay with --sparsity 70x, or leave --granularity connection out",
    ),
    "--granularity connection --sparsity 3x --data npz:d.npz --max-drop 1 --confidence 0.9 --macs 1k": (
        "--max-drop needs whole channels to go: its search for the smallest network cuts nothing else",
        "say how many weights stay with --sparsity 70x, or leave --granularity connection out",
    ),
    "--granularity connection --sparsity 3x --confidence 0.9": (
        "--confidence is about --max-drop, which needs whole channels to go",
        "leave it out: --sparsity 70x or --pattern 2:4 says how many connections stay",
    ),
    "--granularity connection --sparsity 3x --criterion refit --data npz:d.npz": (
        "criterion 'refit' ranks whole units, not connections",
        "choose one of: f, l1, l2, lamp, random, screening, taylor, wanda, welch",
    ),
    "--granularity connection --sparsity 3x --criterion wanda --input 1x6x6": (
        "criterion 'wanda' needs images",
        "give --data, or choose one that needs none: l2, lamp, random",
    ),
    "--granularity connection --sparsity 2000x --input 1x6x6": (
        ">= 2000x fewer weights leaves 1 of 2496 for 3 layers",
        "with one for each layer it is 832x",
    ),
    "--granularity connection --pattern 2:5 --input 1x6x6": (
        "pattern 2:5 fits no layer: 0.weight has 1 inputs, no multiple of 5 (and 2 more)",
        "choose a pattern that divides the layers' inputs, or --sparsity",
    ),
    "--granularity connection --sparsity 3x --rounds 2 --epochs 1 --data npz:d.npz": (
        "--rounds 2 with --epochs 1: every round trains for an epoch at least",
        "give --epochs 8, or fewer rounds",
    ),
    "--allow-inexact layernorm": (
        "'layernorm' is no inexact operator that can be allowed",
        "did you mean 'layer_norm'?",
    ),
    "--speeedup 2": (
        "unknown option '--speeedup'",
        "did you mean '--speedup'? see `edgeprune compress --help`",
    ),
}
SHORT = "the budget {} cannot be reached"
CAN = (
    "with every free group at its narrowest: 3.48 k MACs, 691 parameters; "
    "`edgeprune inspect` lists what is locked and why"
)


@pytest.mark.parametrize("options", REFUSED)
def test_a_request_that_is_wrong(compress: Compress, desk: Path, options: str) -> None:
    answer = compress(*options.split())
    assert (answer.code, answer.refusal) == (2, REFUSED[options])
    assert nothing_was_made(desk / "runs")


def test_an_unknown_target(compress: Compress) -> None:
    answer = compress(target="rpi44")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "unknown target 'rpi44'",
            "did you mean 'rpi4'? known: android-arm64, rpi-zero-2w, rpi3, rpi4, rpi5, x86-64",
        ),
    )


def test_a_format_the_target_has_no_runtime_for(compress: Compress, desk: Path) -> None:
    (desk / "board.toml").write_text(
        'kind = "target/1"\nname = "board"\nsummary = ""\nprecisions = ["fp32"]\nthreads = 1\n'
        'host = { machine = "z80" }\nruntimes = { onnx = "onnxruntime" }\n'
        'channels = { multiple = 8, source = "none" }\n'
    )
    answer = compress("--format", "tflite", target="board.toml")
    assert answer.refusal == ("target 'board' runs no tflite files", "known: onnx")


@pytest.mark.parametrize(
    ("options", "budget"),
    [
        ("--speedup 1000", ">= 1000x fewer MACs"),
        ("--macs 100", "<= 100 MACs"),
        ("--speedup 2 --params 10", ">= 2x fewer MACs, <= 10 parameters"),
    ],
)
def test_a_budget_that_cannot_be_reached_says_what_can(
    compress: Compress, desk: Path, options: str, budget: str
) -> None:
    answer = compress("--data", "npz:d.npz", *options.split())
    assert (answer.code, answer.refusal) == (2, (SHORT.format(budget), CAN))
    assert nothing_was_made(desk / "runs")


def test_a_number_of_rounds_that_is_none(compress: Compress) -> None:
    for rounds in ("0", "-1"):
        answer = compress("--data", "npz:d.npz", "--rounds", rounds)
        assert answer.code == 2
        assert answer.refusal[0] == "--rounds: input should be greater than or equal to 1"


def test_a_precision_that_the_target_has_none_of(compress: Compress, desk: Path) -> None:
    (desk / "board.toml").write_text(
        'kind = "target/1"\nname = "board"\nsummary = ""\nprecisions = ["fp32", "int8-static"]\nthreads = 1\n'
        'host = { machine = "z80" }\nruntimes = { onnx = "onnxruntime" }\n'
        'channels = { multiple = 8, source = "none" }\n'
    )
    answer = compress("--size", "9k:fp16", target="board.toml")
    assert answer.refusal == (
        "--size bounds a fp16 file, which target 'board' has none of",
        "did you mean 'fp32'? known: fp32, int8-static",
    )


def test_a_corrected_request_does_not_trip_over_the_first_attempt(compress: Compress, desk: Path) -> None:
    assert compress("--input", "1x6x6", "--speedup", "1000").code == 2
    assert compress("--input", "1x6x6", "--speedup", "1.5", "--format", "onnx").code == 0


def test_a_bound_that_the_test_images_refute_gives_exit_code_1(compress: Compress, desk: Path) -> None:
    bound = ("--data", "npz:d.npz", "--max-drop", "50", "--confidence", "0.6", "--format", "onnx")
    assert compress(*bound, "--out", "run").code == 0
    refute(desk / "run" / ".edgeprune")
    answer = compress(*bound, "--out", "run")
    assert (answer.code, answer.refusal) == (
        1,
        (
            "the drop within 50 points at 60 % is refuted by the test images: 90.00 points [37.27, 98.21]",
            "the run folder keeps the files; report.json has the details",
        ),
    )


def refute(hidden: Path) -> None:
    """Let the journal say that nearly all test images were lost, as if verify had found so."""
    judgement = json.loads((hidden / "judgement.json").read_text())
    judgement["claim"]["drop"] = {"both_right": 1, "lost": 9, "gained": 0, "both_wrong": 0}
    (hidden / "judgement.json").write_text(json.dumps(judgement))
    journal = json.loads((hidden / "journal.json").read_text())
    digest = sha256((hidden / "judgement.json").read_bytes()).hexdigest()
    journal["stages"]["verify"]["files"] = {".edgeprune/judgement.json": digest}
    (hidden / "journal.json").write_text(json.dumps(journal))
