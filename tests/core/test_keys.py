"""Keys that sign bundles are those of OpenSSH: its tools make and read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.keys import fingerprint, load_private, load_trusted, new_key, sign, signed_by

needs_ssh_keygen = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen; Debian: apt-get install openssh-client"
)


def test_what_a_key_signs_is_known_as_its_own(tmp_path: Path) -> None:
    private, public = new_key(tmp_path)
    owner, signature = sign(load_private(private), b"text")
    assert load_trusted([public]) == (owner,)
    assert signed_by(owner, signature, b"text")
    assert not signed_by(owner, signature, b"test")
    assert not signed_by(owner, signature[:-1], b"text")


@needs_ssh_keygen
def test_openssh_prints_the_same_fingerprint(tmp_path: Path) -> None:
    _, public = new_key(tmp_path)
    shown = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True)
    assert fingerprint(load_trusted([public])[0]) == shown.stdout.split()[1]


@needs_ssh_keygen
def test_a_key_of_openssh_signs_but_not_with_a_passphrase_and_not_of_another_kind(tmp_path: Path) -> None:
    for name, options in {"plain": ["-N", ""], "locked": ["-N", "secret"]}.items():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-f", tmp_path / name, *options]
        subprocess.run(command, check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "other"], check=True)
    assert sign(load_private(tmp_path / "plain"), b"")[0] == load_trusted([tmp_path / "plain.pub"])[0]
    for name, why in {"locked": "no private key that can be used", "other": "a key of another kind"}.items():
        with pytest.raises(RequestError) as caught:
            load_private(tmp_path / name)
        assert caught.value.message == f"{tmp_path / name}: {why}"
    with pytest.raises(RequestError) as caught:
        load_trusted([tmp_path / "other.pub"])
    assert caught.value.message == f"{tmp_path / 'other.pub'}: a key of another kind"
