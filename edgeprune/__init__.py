"""edgeprune: from a trained PyTorch model to a measured, shipped file on an edge device.

The Python API has the shape of the command line: `edgeprune.compress(model, target="rpi4", ...)`
takes a path or an in-memory `torch.nn.Module`. Importing the package loads no engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.core.plan import Plan as Plan
    from edgeprune.pipeline import apply as apply
    from edgeprune.pipeline import compress as compress
    from edgeprune.pipeline import explain as explain
    from edgeprune.pipeline import give_back as give_back
    from edgeprune.pipeline import inspect as inspect
    from edgeprune.pipeline import screen as screen

__version__ = "0.1.0"
__all__ = ["Plan", "__version__", "apply", "compress", "explain", "give_back", "inspect", "screen"]


def __getattr__(name: str) -> Any:
    """Import the pipeline only when it is first used: torch alone takes two seconds."""
    if name == "Plan":
        from edgeprune.core.plan import Plan

        return Plan
    if name in {"apply", "compress", "explain", "give_back", "inspect", "screen"}:
        from edgeprune import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'edgeprune' has no attribute '{name}'")
