"""The house rules: every import contract can fail, names say what is inside, the README tells the truth."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from command import ROOT, Here

PACKAGE = ROOT / "edgeprune"
MODULES = sorted(PACKAGE.rglob("*.py"))
README = (ROOT / "README.md").read_text()
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL = {"edgeprune", "targets", "pyproject.toml", "README.md"}
"""What a wheel is built from."""
# The line that breaks each contract, and the file it is planted in.
BROKEN = {
    "layers": ("core/units.py", "import edgeprune.graph.couple"),
    "stages": ("stages/plan.py", "import edgeprune.stages.load"),
    "plugins": ("plugins/criteria/refit.py", "import edgeprune.plugins.criteria.random"),
    "plugins-by-name": ("stages/screen.py", "import edgeprune.plugins.criteria.random"),
    "light-core": ("core/plan.py", "import torch"),
    "device-alone": ("device/runner.py", "import edgeprune.core.units"),
    "no-cycles": ("graph/capture.py", "import edgeprune.graph.couple"),
}


# Imports


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and the contracts, to be broken."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(PACKAGE, folder / "edgeprune", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_contract_is_broken_by_a_test() -> None:
    assert {one["id"] for one in SETTINGS["tool"]["importlinter"]["contracts"]} == set(BROKEN)


@pytest.mark.parametrize("contract", BROKEN)
def test_an_import_that_breaks_a_contract_is_found(copy: Path, contract: str) -> None:
    name = next(one["name"] for one in SETTINGS["tool"]["importlinter"]["contracts"] if one["id"] == contract)
    file, line = BROKEN[contract]
    before = (copy / "edgeprune" / file).read_text()
    assert kept(copy, contract) == (0, f"{name} KEPT")
    (copy / "edgeprune" / file).write_text(before.replace("from __future__", f"{line}\nfrom __future__", 1))
    try:
        assert kept(copy, contract) == (1, f"{name} BROKEN")
    finally:
        (copy / "edgeprune" / file).write_text(before)


def kept(folder: Path, contract: str) -> tuple[int, str]:
    """lint-imports' exit code and its line about one contract."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--contract", contract, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = re.search(r"^.* (KEPT|BROKEN)$", done.stdout, re.M)
    assert verdict, done.stdout + done.stderr
    return done.returncode, verdict[0]


# Names and words


def test_no_file_is_named_after_a_kind_of_thing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}
    folders = [ROOT / name for name in ("edgeprune", "tests", "models", "benchmarks")]
    found = [path for folder in folders for path in folder.rglob("*") if path.stem in vague]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_about(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text, f"{path} has no docstring"
    assert len(text.splitlines()[0]) > 20


# README


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z][a-z-]*)$|^    make ([a-z-]+)", README, re.M)):
        name = "".join(target)
        assert re.search(rf"^{name}:", makefile, re.M), f"make {name}"


def commands() -> list[str]:
    """The lines of code of README that start with `edgeprune`, in blocks and in tables."""
    blocks = re.findall(r"^(?:    |\$ )(edgeprune .+?)(?:\s+#.*)?$", README, re.M)
    return list(dict.fromkeys([*blocks, *re.findall(r"`(edgeprune [^`]+)`", README)]))


def test_the_readme_shows_commands() -> None:
    assert "edgeprune compress model.pt --target rpi4" in commands()


@pytest.mark.parametrize("line", commands())
def test_every_command_of_the_readme_exists_with_its_options(
    line: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, *words = line.split()
    command = words[:2] if words[0] in {"targets", "capsule", "device", "keys"} else words[:1]
    shown = Here(capfd, monkeypatch)(*command, "--help")
    assert shown.code == 0
    known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown.out))
    assert {word for word in words if word.startswith("-")} <= known


def test_relative_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []


def test_there_is_a_changelog() -> None:
    assert (ROOT / "CHANGELOG.md").read_text().startswith("# Changelog")


# CI and packaging


def test_ci_calls_the_readmes_own_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert "make test" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_wheel_holds_the_targets(tmp_path: Path) -> None:
    hatchling = pytest.importorskip(
        "hatchling.build", reason="hatchling, the build backend, is not installed"
    )
    source = tmp_path / "source"
    source.mkdir()
    for name in WHEEL:
        (source / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(source)
        name = hatchling.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        packed = {Path(one).name for one in wheel.namelist() if one.startswith("edgeprune/targets/")}
    assert packed == {path.name for path in (ROOT / "targets").iterdir()}


def test_the_wheel_is_told_to_hold_the_targets() -> None:
    wheel = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"targets": "edgeprune/targets"}


def test_targets_are_found_inside_an_installed_package(copy: Path) -> None:
    shutil.copytree(ROOT / "targets", copy / "edgeprune" / "targets", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "targets", "list"],
        cwd=copy,
        env={"PYTHONPATH": str(copy), "HOME": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.rmtree(copy / "edgeprune" / "targets")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        path.stem for path in sorted((ROOT / "targets").glob("*.toml"))
    ]


def test_no_tracked_file_names_a_package_registry() -> None:
    search = ["git", "grep", "--untracked", "-nE", r"pypi\.org|files\.pythonhosted"]
    done = subprocess.run(search, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    assert done.stdout == ""
