"""Train the network: `python models/fashion_mobile/train.py` writes fashion_mobile.pt beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from model import fashion_mobile

# The images, and how to learn from them, are those of the network next door.
sys.path.append(str(Path(__file__).parents[1] / "fashion_cnn"))
from course import Course, train

if __name__ == "__main__":
    course = Course(epochs=12, peak_rate=0.4, weight_decay=1e-5)
    train(fashion_mobile, course, Path(__file__).with_name("fashion_mobile.pt"))
