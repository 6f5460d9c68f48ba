"""Train the network: `python models/fashion_cnn/train.py` writes fashion_cnn.pt beside this file."""

from __future__ import annotations

from pathlib import Path

from course import Course, train
from model import fashion_cnn

if __name__ == "__main__":
    course = Course(epochs=8, peak_rate=0.1, weight_decay=5e-4)
    train(fashion_cnn, course, Path(__file__).with_name("fashion_cnn.pt"))
