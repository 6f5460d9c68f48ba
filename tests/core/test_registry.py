"""Plug-ins are found by name; a wrong name, option or package is an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import PluginError
from edgeprune.core.registry import build, build_from, find, names

OPTIONS = "correct its options, or reinstall the package it comes from"
EXPORTERS = "executorch, ncnn, onnx, openvino, pt2, tflite"
RUNTIMES = "executorch, litert, ncnn, onnxruntime, openvino, tflite-runtime, torch"
KNOWN = "bn-scale, f, fpgm, group-l2, l1, l2, lamp, random, refit, screening, taylor, wanda, welch"
PLUGIN = """\
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Coin:
    \"\"\"`--criterion coin`.\"\"\"

    bias: float = 0.5
    needs: ClassVar[frozenset[str]] = frozenset()
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, behind those of this environment."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, package: str, points: str, family: str = "criteria") -> None:
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[edgeprune.{family}]\n{points}\n")


def test_ours_are_listed_by_family() -> None:
    assert names("criteria") == KNOWN.split(", ")
    assert names("exporters") == EXPORTERS.split(", ")
    assert names("runtimes") == RUNTIMES.split(", ")


def test_listing_imports_no_plugin() -> None:
    script = (
        "import sys; from edgeprune.core.registry import names\n"
        "names('criteria'), names('runtimes'), names('datasets')\n"
        "print([one for one in sys.modules if one.startswith('edgeprune.plugins') or one == 'torch'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("family", "name", "message", "hint"),
    [
        (
            "criteria",
            "screning",
            "unknown criterion 'screning'",
            f"did you mean 'screening'? known: {KNOWN}",
        ),
        ("criteria", "x", "unknown criterion 'x'", f"known: {KNOWN}"),
        (
            "runtimes",
            "lite",
            "unknown runtime 'lite'",
            f"did you mean 'litert'? known: {RUNTIMES}",
        ),
        (
            "exporters",
            "coreml",
            "unknown exporter 'coreml'",
            f"known: {EXPORTERS}",
        ),
    ],
)
def test_an_unknown_name_offers_the_nearest(family: str, name: str, message: str, hint: str) -> None:
    with pytest.raises(PluginError) as caught:
        find(family, name)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"alhpa": 1}, "criterion 'screening': unknown option 'alhpa'", "did you mean 'alpha'?"),
        ({"x": 1}, "criterion 'screening': unknown option 'x'", "options: alpha, norm"),
        ({"needs": ()}, "criterion 'screening': unknown option 'needs'", "options: alpha, norm"),
        ({"alpha": 2}, "criterion 'screening': alpha: input should be less than or equal to 1", OPTIONS),
        (
            {"alpha": "much"},
            "criterion 'screening': alpha: input should be a valid number, "
            "unable to parse string as a number",
            OPTIONS,
        ),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(PluginError) as caught:
        build("criteria", "screening", options)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_plugin_without_options_says_so() -> None:
    with pytest.raises(PluginError) as caught:
        build("criteria", "l2", {"alpha": 1})
    assert caught.value.hint == "options: none"


def test_options_are_converted_from_text() -> None:
    assert build("criteria", "screening", {"alpha": "0.75"}).alpha == 0.75


def test_options_are_read_from_the_text_that_names_the_plugin() -> None:
    assert build_from("criteria", "screening?alpha=0.75&norm=rank") == build(
        "criteria", "screening", {"alpha": 0.75, "norm": "rank"}
    )
    assert build_from("criteria", "l2") == build("criteria", "l2")


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(PluginError) as caught:
        build_from("criteria", "screening?alpha")
    assert caught.value.message == "criterion 'screening?alpha': option 'alpha' has no value"
    assert caught.value.hint == "write ?option=value&option=value"


def test_a_strangers_plugin_is_found_and_built(site: Path) -> None:
    (site / "acme_coin.py").write_text(PLUGIN)
    install(site, "acme", "coin = acme_coin:Coin")
    assert "coin" in names("criteria")
    assert build("criteria", "coin", {"bias": "0.9"}).bias == 0.9


def test_a_name_that_two_packages_claim_is_an_error_naming_both(site: Path) -> None:
    install(site, "acme", "l2 = acme_coin:Coin")
    with pytest.raises(PluginError) as caught:
        find("criteria", "l2")
    assert caught.value.message == (
        "criterion 'l2' is claimed by acme (acme_coin:Coin) "
        "and edgeprune (edgeprune.plugins.criteria.magnitude:L2)"
    )
    assert caught.value.hint == "uninstall one of them"


def test_one_package_seen_twice_is_no_clash(site: Path) -> None:
    install(site, "edgeprune-copy", "l2 = edgeprune.plugins.criteria.magnitude:L2")
    assert find("criteria", "l2").__name__ == "L2"


@pytest.mark.parametrize(
    ("module", "target", "reason"),
    [
        (None, "acme_absent:Coin", "No module named 'acme_absent'"),
        ("raise RuntimeError('no licence')", "acme_raises:Coin", "no licence"),
        ("import", "acme_syntax:Coin", "invalid syntax (acme_syntax.py, line 1)"),
        ("Penny = 1", "acme_other:Coin", "module 'acme_other' has no attribute 'Coin'"),
    ],
)
def test_a_broken_plugin_hurts_only_whoever_asks(
    site: Path, module: str | None, target: str, reason: str
) -> None:
    if module is not None:
        (site / f"{target.partition(':')[0]}.py").write_text(module)
    install(site, "acme", f"coin = {target}")
    assert "coin" in names("criteria")
    assert build("criteria", "l2") is not None
    with pytest.raises(PluginError) as caught:
        build("criteria", "coin")
    assert caught.value.message == f"criterion 'coin' does not import: {reason}"
    assert caught.value.hint == f"it comes from acme ({target}); reinstall it or install what it needs"
