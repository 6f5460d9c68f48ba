"""`edgeprune compress`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for
from edgeprune.core.errors import GateError, Interrupted, RequestError, did_you_mean
from edgeprune.core.units import parse_count, parse_shape


def compress(
    model: options.ModelFile,
    target: options.Target,
    arch: options.Arch = None,
    input: options.Input = None,
    data: options.Data = None,
    speedup: Annotated[
        float | None,
        typer.Option(help="Multiply-accumulates before / after, at least; 2 when no budget is given."),
    ] = None,
    macs: Annotated[str | None, typer.Option(help="Multiply-accumulates after, at most: 60M.")] = None,
    params: Annotated[str | None, typer.Option(help="Parameters after, at most: 250k.")] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Bytes of the smallest file, at most: 500k; 500k:fp32 for one of a precision."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Search for the smallest network that loses at most so many points of accuracy."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="At which --max-drop is to hold; default 0.95.")
    ] = None,
    granularity: Annotated[
        str, typer.Option(help="What goes: channel, or single connections (connection), which leaves zeros.")
    ] = "channel",
    sparsity: Annotated[
        str | None, typer.Option(help="With connection: times fewer weights, at least: 70x.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="With connection: of every M inputs N stay: 2:4.")
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="With connection: one threshold (global, the default) or one for each layer."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cut in so many rounds, each with its share of epochs; default 1, with connection one "
            "for each epoch of the first half, at most 20.",
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="How units are ranked: screening, f, welch, refit, taylor, wanda; without data l2, l1, "
            "group-l2, bn-scale, fpgm, lamp, random. Options: 'screening?alpha=0.3'."
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Calibration images; default 2000, or 60 % of the data.")
    ] = None,
    selection_images: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images that judge choices; default 500 or 15 %, for --max-drop 5000 or 25 %."
        ),
    ] = None,
    test_images: Annotated[int | None, typer.Option(min=1, help="Test images; default all.")] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Epochs of training afterwards.")] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the training afterwards, at its peak; default 0.01.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Images per step of the training afterwards; default 128.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="While training: none, shift, flip (shifts, too); default by the images."),
    ] = None,
    train_command: Annotated[
        str | None,
        typer.Option(
            help="Train with your own loop, once, after the last round: "
            "'python train.py --weights {model} --out {out}'."
        ),
    ] = None,
    format: Annotated[
        list[str] | None, typer.Option(help="File format, repeatable: onnx, tflite; default all.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the files beside float32 ones, repeatable: fp16, int8-static, int8-dynamic, "
            "int8-weight-only, int8w-int16a, int4-weight-only, fp32 for none; default the target's."
        ),
    ] = None,
    quantized_drop: Annotated[
        float | None,
        typer.Option(
            help="Points a static int8 file may lose against float32 before operators go back to float32; "
            "default 1. With --max-drop its bound holds instead."
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(help="Inputs at a time: 1, or free; default free where the format can.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of the files' image input: nchw, or nhwc as cameras have it.")
    ] = "nchw",
    camera: Annotated[
        bool, typer.Option("--camera", help="Files take 8-bit frames, and cast and normalise them inside.")
    ] = False,
    answer: Annotated[
        str, typer.Option(help="What files answer: scores, as the network does, or softmax, argmax, top5.")
    ] = "scores",
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/MODEL-TARGET.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    allow_inexact: options.AllowInexact = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Prune, export, quantize, verify and measure a trained model for a device."""
    _require_bounds(speedup, max_drop, confidence, quantized_drop)
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise RequestError(f"--learning-rate {learning_rate:g} teaches nothing", hint="give a number above 0")

    from edgeprune.core.interface import interface_of
    from edgeprune.core.recovery import Recovery, require_augment
    from edgeprune.core.registry import names
    from edgeprune.core.request import QUANTIZED_DROP, Budget, Images
    from edgeprune.core.size import parse_size
    from edgeprune.core.target import find_target
    from edgeprune.core.thinning import thinning_of

    bytes_, size_of = parse_size(size) if size else (None, None)
    budget = Budget(
        speedup=speedup,
        macs=parse_count(macs, option="--macs") if macs else None,
        parameters=parse_count(params, option="--params") if params else None,
        size=bytes_,
        size_of=size_of,
        max_drop=max_drop,
        confidence=confidence,
    )
    thinning = thinning_of(granularity, sparsity, pattern, scope, rounds)
    recovery = Recovery(
        learning_rate=learning_rate,
        batch=batch_size,
        augment=require_augment(augment) if augment is not None else None,
        command=train_command,
    )
    interface = interface_of(batch, layout, answer, camera=camera)
    for one in format or []:
        if one not in names("exporters"):
            raise RequestError(f"unknown format '{one}'", hint=did_you_mean(one, names("exporters")))
    chosen = find_target(target)
    shape = parse_shape(input) if input else None

    from edgeprune.cli.outcome import outcome
    from edgeprune.graph.processes import rank_here
    from edgeprune.pipeline.compress import compress as run

    quiet = quiet or rank_here() > 0

    try:
        with progress_for(quiet=quiet) as progress:
            report = run(
                model,
                target=chosen,
                arch=arch,
                input=shape,
                data=data,
                budget=budget,
                thinning=thinning,
                criterion=criterion,
                images=Images(calibration=images, selection=selection_images, test=test_images),
                rounds=rounds or 1,
                epochs=epochs,
                recovery=recovery,
                formats=tuple(format or ()),
                interface=interface,
                precisions=tuple(precision or ()),  # type: ignore[arg-type]
                quantized_drop=QUANTIZED_DROP if quantized_drop is None else quantized_drop,
                out=out,
                seed=seed,
                trust_pickle=trust_pickle,
                allow_inexact=allow_inexact or (),
                progress=progress,
            )
    except KeyboardInterrupt as stop:
        raise Interrupted(
            "interrupted", hint="the same command goes on after the last finished stage"
        ) from stop
    if rank_here() > 0:
        return  # the first process says what there is to say
    if json:
        print(report.to_json())
    elif not quiet:
        outcome(report, folder=out or Path("runs") / f"{model.stem}-{chosen.name}")
    failures = report.failures()
    if failures:
        raise GateError(
            f"{len(failures)} of {len(report.artifacts)} files failed verification: {failures[0]}",
            hint="do not ship them; report.json has the details",
        )
    unmet = report.unmet()
    if unmet:
        raise GateError(unmet[0], hint="the run folder keeps the files; report.json has the details")


def _require_bounds(
    speedup: float | None, max_drop: float | None, confidence: float | None, quantized_drop: float | None
) -> None:
    """Refuse numbers that bound nothing, NaN among them."""
    if speedup is not None and not 1 < speedup < float("inf"):
        raise RequestError(f"--speedup {speedup:g} asks for nothing", hint="give a number above 1")
    if max_drop is not None and not 0 < max_drop < 100:
        raise RequestError(
            f"--max-drop {max_drop:g} bounds nothing", hint="give points of accuracy: 1 or 0.5"
        )
    if quantized_drop is not None and not 0 < quantized_drop <= 100:
        raise RequestError(
            f"--quantized-drop {quantized_drop:g} bounds nothing", hint="give points of accuracy: 1 or 0.5"
        )
    if quantized_drop is not None and max_drop is not None:
        raise RequestError(
            "--quantized-drop beside --max-drop",
            hint="leave it out: what --max-drop allows is kept to by every file",
        )
    if confidence is not None and not 0.5 <= confidence < 1:
        raise RequestError(
            f"--confidence {confidence:g} is not between 0.5 and 1", hint="write 95 % like this: 0.95"
        )
