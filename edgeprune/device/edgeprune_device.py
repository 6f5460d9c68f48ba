"""Answer with the live version of a shipped model: `load("/opt/models/vision")`, on the device itself.

It lies in every version that is shipped (`current/edgeprune_device.py`), imports the standard library, numpy
and the runtime found, nothing of edgeprune, and keeps to Python 3.9:

    import sys
    sys.path.insert(0, "/opt/models/vision/current")
    from edgeprune_device import load
    model = load("/opt/models/vision")
    answer = model(inputs)
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = Any


class LoadError(RuntimeError):
    """A version that cannot be used; the message says what is wrong and what to do."""


def load(folder: str | Path, *, threads: int | None = None, follow: bool = True) -> Model:
    """The live version of a folder that models are shipped to.

    Its files are compared with the hashes of its manifest before they are opened. With `follow` a model that
    is shipped later answers from the next call on; one that cannot be used leaves the old one in its place.
    """
    return Model(Path(folder), threads, follow=follow)


class Model:
    """Answers with the live version; safe to call from several threads."""

    def __init__(self, folder: Path, threads: int | None, *, follow: bool) -> None:
        self._folder, self._threads, self._follow = folder, threads, follow
        self._lock = threading.Lock()
        self._refused = ""
        self.problem = ""
        """Why a version that was shipped since is not used; '' where all is well."""
        self._version = _Version(folder, _live(folder), threads)

    def __call__(self, inputs: Array) -> Array:
        """The answer to one input with its batch axis."""
        if self._follow:
            self.refresh()
        with self._lock:
            return self._version.infer(np.ascontiguousarray(inputs, dtype=self._version.dtype))

    @property
    def version(self) -> str:
        """The id of the version that answers."""
        return self._version.name

    @property
    def labels(self) -> list[str]:
        """Names of the classes in output order; empty where the bundle has none."""
        return list(self._version.manifest["labels"])

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything that the bundle says of itself."""
        return dict(self._version.manifest)

    def prepare(self, images: Array) -> Array:
        """Raw images (batch, channels, height, width) as the network wants them: scaled, normalised."""
        return _prepared(np.asarray(images), self._version.manifest["preprocess"])

    def refresh(self) -> bool:
        """Look for a new live version, and change to it; whether that happened."""
        try:
            name = _live(self._folder)
        except LoadError as error:
            self.problem = str(error)
            return False
        if name in (self._version.name, self._refused):
            return False
        with self._lock:
            if name == self._version.name:
                return False
            try:
                self._version = _Version(self._folder, name, self._threads)
            except LoadError as error:
                self._refused, self.problem = name, str(error)
                return False
            self._refused = self.problem = ""
            return True


class _Version:
    """One version, its hashes checked and its runtime open."""

    def __init__(self, folder: Path, name: str, threads: int | None) -> None:
        self.name = name
        here = folder / "versions" / name
        self.manifest = _manifest(here)
        artifact = self.manifest["artifact"]
        path = here / artifact["path"]
        # 8-bit frames are passed on as they are.
        self.dtype = artifact["inputs"][0]["dtype"] if artifact["inputs"] else "float32"
        if _sha256(path) != artifact["sha256"]:
            raise LoadError(f"{path}: it is damaged (its SHA-256 differs); ship it again, or roll back")
        threads = threads or min(self.manifest["requires"]["threads"], os.cpu_count() or 1)
        try:
            self.infer = _OPENERS[artifact["format"]](str(path), threads)
        except LoadError:
            raise
        except Exception as error:  # runtimes' errors share no base
            raise LoadError(f"{path}: the runtime refuses it: {error}") from error


def _live(folder: Path) -> str:
    try:
        return (folder / "current").readlink().name
    except OSError as error:
        raise LoadError(f"{folder}: no model is live there; `edgeprune ship` brings one") from error


def _manifest(here: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((here / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{here}: its manifest cannot be read ({error}); ship it again") from error
    if manifest.get("kind") != "bundle/1":
        raise LoadError(f"{here}: a manifest of another kind ({manifest.get('kind')})")
    return manifest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    except OSError:
        return ""
    return digest.hexdigest()


def _prepared(images: Array, preprocess: dict[str, Any]) -> Array:
    scale = preprocess["scale"] or (255.0 if images.dtype.kind in "ui" else 1.0)
    found = images.astype(np.float32)
    crop = preprocess["crop"]
    if crop:
        top, left = ((size - crop) // 2 for size in found.shape[-2:])
        found = found[..., top : top + crop, left : left + crop]
    found = found / np.float32(scale)
    axes = (-1,) + (1,) * (found.ndim - 2)
    if preprocess["mean"]:
        found = found - np.asarray(preprocess["mean"], np.float32).reshape(axes)
    if preprocess["std"]:
        found = found / np.asarray(preprocess["std"], np.float32).reshape(axes)
    return found


# Runtimes


def _onnx(path: str, threads: int) -> Callable[[Array], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Sums of int8 products in 16 bits overflow on x86-64 without VNNI; nothing changes elsewhere.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: inputs})[0]


def _tflite(path: str, threads: int) -> Callable[[Array], Array]:
    interpreter = _interpreter_kind()(path, num_threads=threads)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def infer(inputs: Array) -> Array:
        interpreter.set_tensor(into, inputs)
        interpreter.invoke()
        return interpreter.get_tensor(out)

    return infer


def _interpreter_kind() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ModuleNotFoundError as error:
            raise LoadError("this Python has neither ai-edge-litert nor tflite-runtime") from error
    return Interpreter


_OPENERS = {"onnx": _onnx, "tflite": _tflite}
