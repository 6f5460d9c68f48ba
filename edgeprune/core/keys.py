"""Keys: Ed25519 pairs that sign bundles, in OpenSSH's own files, and whose signatures count."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.files import storage_errors

PRIVATE_NAME, PUBLIC_NAME = "edgeprune.key", "edgeprune.pub"
_KINDS = "an Ed25519 key without passphrase, as `edgeprune keys new` and `ssh-keygen -t ed25519` make it"


def keys_folder() -> Path:
    """Where keys are looked for that no option names."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "edgeprune" / "keys"


def new_key(folder: Path) -> tuple[Path, Path]:
    """Write a fresh pair; the private file, which only its owner may read, and the public one.

    Raises
    ------
    StorageError
        There is a key already, or the folder cannot be written.
    """
    private, public = folder / PRIVATE_NAME, folder / PUBLIC_NAME
    for path in (private, public):
        if path.exists():
            raise StorageError(
                f"{path}: there is a key already", hint="keep it, or name another folder with --out"
            )
    key = Ed25519PrivateKey.generate()
    with storage_errors(private):
        folder.mkdir(parents=True, exist_ok=True)
        # Created with its rights: there is no moment in which others may read it.
        descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        public.write_bytes(line + b" edgeprune\n")
    return private, public


def load_private(path: Path | None) -> Ed25519PrivateKey:
    """The key that signs; None stands for the one in `keys_folder()`.

    Raises
    ------
    RequestError
        It is absent, or no Ed25519 key that can be used without a passphrase.
    """
    chosen = path or keys_folder() / PRIVATE_NAME
    content = _read(chosen, "`edgeprune keys new` makes one" if path is None else "check --key")
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RequestError(f"{chosen}: no private key that can be used", hint=f"give {_KINDS}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RequestError(f"{chosen}: a key of another kind", hint=f"give {_KINDS}")
    return key


def load_trusted(files: Sequence[Path]) -> tuple[bytes, ...]:
    """The public keys whose signatures count; without files those in `keys_folder()`.

    Raises
    ------
    RequestError
        There are none, or a line is no public Ed25519 key.
    """
    chosen = list(files) or sorted(keys_folder().glob("*.pub"))
    if not chosen:
        raise RequestError(
            f"no key is trusted: {keys_folder()} has no .pub file",
            hint="give the public key of whoever signs: --trust KEY.pub; `edgeprune keys new` makes one",
        )
    return tuple(key for path in chosen for key in _public_lines(path))


def sign(key: Ed25519PrivateKey, message: bytes) -> tuple[bytes, bytes]:
    """The public key and the signature."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), key.sign(message)


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature is that of the key's owner."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public: bytes) -> str:
    """A public key in short, as `ssh-keygen -lf` prints it."""
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + len(public).to_bytes(4, "big") + public
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def _public_lines(path: Path) -> list[bytes]:
    lines = [line for line in _read(path, "check --trust").splitlines() if line.strip()]
    found = []
    for line in lines or [b""]:
        try:
            key = load_ssh_public_key(line)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise RequestError(f"{path}: no public key", hint="give a .pub file") from error
        if not isinstance(key, Ed25519PublicKey):
            raise RequestError(f"{path}: a key of another kind", hint="give an Ed25519 key's .pub file")
        found.append(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return found


def _read(path: Path, hint: str) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError as error:
        raise RequestError(f"{path}: no such key file", hint=hint) from error
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror})", hint=hint) from error
