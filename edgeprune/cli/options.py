"""Options that several commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Arch = Annotated[
    str | None,
    typer.Option(
        help="Architecture of a state dict: torchvision:resnet18?num_classes=10, "
        "package.module:factory or path/to/file.py:factory."
    ),
]
Input = Annotated[str | None, typer.Option(help="Input size without batch, e.g. 3x224x224.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Input size without batch, e.g. 3x224x224; 16:int<30000 for integers; once for each input.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="Images, with labels or, from npz and factories, without: npz:FILE, folder:DIR, "
        "torchvision:CIFAR10?root=DIR, sklearn:digits or package.module:factory."
    ),
]
AllowInexact = Annotated[
    list[str] | None,
    typer.Option(
        help="Cut under this operator although exactness does not hold there: layer_norm, group_norm; "
        "repeatable."
    ),
]
AnyModel = Annotated[
    Path | None, typer.Argument(help="A .pt2 archive, state dict or checkpoint; none with --arch.")
]
AnyFile = Annotated[
    Path | None,
    typer.Argument(
        help="A .pt2 archive, state dict or checkpoint, none with --arch; or an .onnx or .tflite file."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the document instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Target = Annotated[
    str, typer.Option(help="Device: a name from `edgeprune targets list`, or the path of a TOML file.")
]
TrustPickle = Annotated[
    bool, typer.Option("--trust-pickle", help="Load a pickled module; this runs code from the file.")
]
ModelFile = Annotated[Path, typer.Argument(help="A .pt2 archive, state dict or checkpoint.")]
