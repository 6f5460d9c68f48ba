"""What is asked of training: defaults by the images, and commands that can be carried out."""

from __future__ import annotations

import pytest

from edgeprune.core.errors import RequestError
from edgeprune.core.recovery import command_words, default_augment, require_augment

DEFAULTS = {
    (3, 32, 32): "flip",
    (3, 224, 224): "flip",
    (1, 28, 28): "shift",
    (1, 8, 8): "none",
    (64,): "none",
    (6, 16): "none",
}


@pytest.mark.parametrize("size", DEFAULTS, ids=str)
def test_the_default_augmentation_suits_the_images(size: tuple[int, ...]) -> None:
    assert default_augment(size) == DEFAULTS[size]


def test_an_unknown_augmentation_is_an_error() -> None:
    with pytest.raises(RequestError) as caught:
        require_augment("flop")
    assert caught.value.message == "unknown augmentation 'flop'"
    assert caught.value.hint == "did you mean 'flip'? known: flip, none, shift"


def test_a_command_is_split_into_words_as_a_shell_does() -> None:
    words = command_words("python 'my train.py' --weights {model} --out={out}")
    assert words == ["python", "my train.py", "--weights", "{model}", "--out={out}"]


REFUSED = {
    "python train.py {model}": "--train-command does not say {out}",
    "python train.py --out {out}": "--train-command does not say {model} or {state}",
    "train {modle} {out}": "--train-command: nothing is put in the place of {modle}",
    "train '{model} {out}": "--train-command cannot be read: No closing quotation",
    "train {model {out}": "--train-command cannot be read: unexpected '{' in field name",
    "train {} {out}": "--train-command: nothing is put in the place of {}",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_cannot_work_is_refused_before_any_work(command: str) -> None:
    with pytest.raises(RequestError) as caught:
        command_words(command)
    assert caught.value.message == REFUSED[command]
