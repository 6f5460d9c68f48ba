"""edgeprune: from a trained PyTorch model to a measured, shipped file on an edge device.

The Python API has the shape of the command line: `edgeprune.compress(model, target="rpi4", ...)`
takes a path or an in-memory `torch.nn.Module`. Importing the package loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.core.plan import Plan as Plan
    from edgeprune.pipeline.carry_out import apply as apply
    from edgeprune.pipeline.carry_out import give_back as give_back
    from edgeprune.pipeline.compress import compress as compress
    from edgeprune.pipeline.look import explain as explain
    from edgeprune.pipeline.look import inspect as inspect
    from edgeprune.pipeline.screen import screen as screen

__version__ = "0.1.0"
__all__ = ["Plan", "__version__", "apply", "compress", "explain", "give_back", "inspect", "screen"]

_HOMES = {
    "Plan": "edgeprune.core.plan",
    "apply": "edgeprune.pipeline.carry_out",
    "compress": "edgeprune.pipeline.compress",
    "explain": "edgeprune.pipeline.look",
    "give_back": "edgeprune.pipeline.carry_out",
    "inspect": "edgeprune.pipeline.look",
    "screen": "edgeprune.pipeline.screen",
}


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is first used: torch alone takes two seconds."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'edgeprune' has no attribute '{name}'")
