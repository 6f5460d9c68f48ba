"""How many connections stay is said in one way: times fewer weights, or N of every M."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edgeprune.core.errors import RequestError
from edgeprune.core.thinning import Pattern, Thinning, parse_pattern, parse_times, thinning_of

BAD_TIMES = {
    "0.986": ("--sparsity 0.986 has no x", "it counts times fewer weights: write 71.4x for 98.6 % zeros"),
    "70": ("--sparsity 70 has no x", "it counts times fewer weights: write 70x"),
    "1x": ("--sparsity 1x asks for nothing", "give a number above 1: 70x"),
    "0.5x": ("--sparsity 0.5x asks for nothing", "give a number above 1: 70x"),
    "-70x": ("--sparsity '-70x' is no number of times", "write 70x: 70 times fewer weights"),
    "nanx": ("--sparsity 'nanx' is no number of times", "write 70x: 70 times fewer weights"),
    "infx": ("--sparsity 'infx' is no number of times", "write 70x: 70 times fewer weights"),
    "98.6%": ("--sparsity '98.6%' is no number of times", "write 70x: 70 times fewer weights"),
    "": ("--sparsity '' is no number of times", "write 70x: 70 times fewer weights"),
}


@pytest.mark.parametrize(("text", "times"), [("70x", 70.0), ("2.5x", 2.5), (" 12X ", 12.0), ("1.01x", 1.01)])
def test_times_are_written_with_an_x(text: str, times: float) -> None:
    assert parse_times(text) == times


@pytest.mark.parametrize(("text", "expected"), BAD_TIMES.items())
def test_another_vocabulary_is_refused_with_the_right_one(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        parse_times(text)
    assert (caught.value.message, caught.value.hint) == expected


def test_a_pattern_is_n_of_m() -> None:
    assert parse_pattern("2:4") == Pattern(keep=2, of=4)
    assert str(parse_pattern(" 1:16 ")) == "1:16"


@pytest.mark.parametrize("text", ["4:4", "0:4", "5:4", "2/4", "2:", "a:b", "1:1001", "2:99999"])
def test_a_pattern_that_takes_nothing_or_everything_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_pattern(text)
    assert caught.value.message == f"--pattern '{text}' is no pattern"
    assert caught.value.hint == "write 2:4: of every four inputs two stay connected"


def test_words_say_what_is_asked_for() -> None:
    assert Thinning(times=70).words() == ">= 70x fewer weights"
    assert Thinning(times=2.5, scope="layer").words() == ">= 2.5x fewer weights in every layer"
    assert Thinning(pattern=Pattern(keep=2, of=4)).words() == "2 of every 4 weights"


@pytest.mark.parametrize("given", [{}, {"times": 3, "pattern": {"keep": 2, "of": 4}}, {"times": 1}])
def test_exactly_one_thing_says_how_many_stay(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Thinning.model_validate(given)


def test_options_of_connections_are_refused_where_channels_are_cut() -> None:
    assert thinning_of("channel", None, None, None, 3) is None
    for option, values in {
        "--sparsity": ("70x", None, None, None),
        "--pattern": (None, "2:4", None, None),
        "--scope": (None, None, "layer", None),
    }.items():
        with pytest.raises(RequestError, match="is for single connections, and channels are cut") as caught:
            thinning_of("channel", *values)
        assert caught.value.message.startswith(option)


@pytest.mark.parametrize("given", [(None, None), ("70x", "2:4")])
def test_connections_need_one_budget(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(RequestError, match="how many connections stay"):
        thinning_of("connection", *given, None, None)


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(RequestError) as caught:
        thinning_of("conection", "70x", None, None, None)
    assert caught.value.message == "unknown --granularity 'conection'"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean 'connection'?")
    with pytest.raises(RequestError, match="unknown --scope 'layers'"):
        thinning_of("connection", "70x", None, "layers", None)
