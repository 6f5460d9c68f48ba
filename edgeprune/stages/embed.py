"""Embed: put a verified bundle's file into an app's assets, with a description that any language reads."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.assets import ASSETS, Assets, RawTensor, SelfTest
from edgeprune.core.bundle import MANIFEST, SIGNATURE
from edgeprune.core.bundle_file import Verified, unpack
from edgeprune.core.errors import DocumentError, StorageError
from edgeprune.core.files import storage_errors


def embed(verified: Verified, folder: Path) -> Assets:
    """Write `folder`, or replace the assets that lie there; where that fails, the old ones are left.

    Raises
    ------
    StorageError
        The folder holds something else, or cannot be written.
    """
    _require_ours(folder)
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside the folder, so that a rename brings it there; hidden, so that no build packs it.
        scratch = Path(mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        with storage_errors(folder):
            (scratch / "bundle").mkdir()
            (scratch / "assets").mkdir()
            unpack(verified, scratch / "bundle")
            assets = _laid_out(verified, scratch / "bundle", scratch / "assets")
            _exchange(scratch / "assets", folder, scratch / "before")
    finally:
        shutil.rmtree(scratch)
    return assets


def _require_ours(folder: Path) -> None:
    """Refuse a folder that holds anything but earlier assets: all of it would be gone."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        Assets.load(folder / ASSETS)
    except (DocumentError, OSError) as error:
        raise StorageError(
            f"{folder} exists and holds no assets of edgeprune",
            hint="name a new folder below the app's assets, e.g. app/src/main/assets/vision",
        ) from error


def _laid_out(verified: Verified, source: Path, folder: Path) -> Assets:
    bundle, artifact = verified.bundle, verified.bundle.artifact
    for name in (artifact.path, MANIFEST, SIGNATURE):
        shutil.move(source / name, folder / Path(name).name)
    golden = bundle.golden
    assets = Assets(
        name=bundle.name,
        version=bundle.id,
        signer=verified.signer,
        target=bundle.target,
        path=Path(artifact.path).name,
        bytes=artifact.bytes,
        sha256=artifact.sha256,
        format=artifact.format,
        precision=artifact.precision,
        runtime=bundle.requires.runtime,
        runtime_version=bundle.requires.runtime_version,
        threads=bundle.requires.threads,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        labels=bundle.labels,
        preprocess=bundle.preprocess,
        self_test=SelfTest(
            inputs=_raw(np.load(source / golden.inputs), folder / "self_test_input.bin"),
            outputs=_raw(np.load(source / golden.outputs), folder / "self_test_output.bin"),
            tolerance=golden.tolerance,
        ),
    )
    assets.save(folder / ASSETS)
    return assets


def _raw(values: NDArray[np.generic], path: Path) -> RawTensor:
    path.write_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return RawTensor(path=path.name, shape=values.shape, dtype=values.dtype.name)


def _exchange(new: Path, folder: Path, aside: Path) -> None:
    """Put `new` in the place of `folder`, and the old one back where that fails."""
    if folder.exists():
        folder.replace(aside)
    try:
        new.replace(folder)
    except BaseException:
        if aside.exists():
            aside.replace(folder)
        raise
