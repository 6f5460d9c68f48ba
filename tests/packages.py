"""Capsules for tests: from the cache, or made where the package mirrors can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.capsule import Arch, CapsuleRuntime
from edgeprune.core.errors import DocumentError, RequestError
from edgeprune.core.packages.lock import find_lock
from edgeprune.stages.capsule.build import kept_capsule


def capsule(runtime: CapsuleRuntime, arch: Arch) -> Path:
    """The folder of a capsule; the test is skipped where its packages cannot be had."""
    try:
        return kept_capsule(runtime, arch, find_lock())
    except DocumentError:
        raise
    except RequestError as error:
        pytest.skip(f"no capsule: {error.message}; {error.hint}")
