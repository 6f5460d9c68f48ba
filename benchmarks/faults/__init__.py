"""Faults while shipping, on the devices and with the bundles that tests use, too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
