"""A file system of one megabyte, or one that may not be written, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

_IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def run_mounted(folder: Path, options: str, script: str) -> str:
    """What a Python script prints while a tmpfs with these options is mounted at `folder`."""
    problem = _refusal()
    if problem:
        pytest.skip(f"unshare is not permitted here: {problem}")
    mounting = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -W error -c "$3" "$1"'
    command = [*_IN_NAMESPACE, "sh", "-c", mounting, "sh", str(folder), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _refusal() -> str:
    """Why no file system can be mounted here; '' when one can."""
    try:
        tried = [*_IN_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
        done = subprocess.run(tried, capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""
