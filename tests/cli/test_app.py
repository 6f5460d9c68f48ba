"""The command as a whole: quick to answer, two lines for every mistake, help everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command import ENVIRONMENT, Here, run

import edgeprune

COMMANDS = """compress inspect explain screen profile verify compare bundle ship rollback status embed
 apply diff init schema targets capsule device keys""".split()
ENGINES = {
    "torch",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "litert_torch",
    "scipy",
    "sklearn",
    "statsmodels",
}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["targets", "list"], ["compress", "--help"]]
)
def test_no_engine_is_imported_for_a_quick_answer(arguments: list[str]) -> None:
    program = (
        f"import sys; sys.argv[1:] = {arguments}\n"
        "from edgeprune.cli.app import main\n"
        "try: main()\n"
        "finally: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout
    assert not ENGINES & set(done.stderr.split())


def test_the_version_is_the_packages() -> None:
    answer = run("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"edgeprune {edgeprune.__version__}\n", "")


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "edgeprune", "--version"], capture_output=True, check=True)
    assert done.stdout.decode() == f"edgeprune {edgeprune.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        *([one] for one in COMMANDS),
        ["targets", "list"],
        ["targets", "show"],
        ["device", "doctor"],
        ["keys", "new"],
    ],
)
def test_every_command_has_help(here: Here, command: list[str]) -> None:
    answer = here(*command, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: {' '.join(['edgeprune', *command])} ")
    assert not answer.err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("compress", "Images, with labels or, from npz and factories, without: npz:FILE"),
        ("compress", "Train with your own loop, once, after the last round: 'python train.py"),
        ("screen", "Of the sample sizes (column images), between 0 and 1; default 0.8."),
    ],
)
def test_help_says_what_an_option_takes_and_when_it_counts(here: Here, command: str, words: str) -> None:
    assert words in " ".join(here(command, "--help").out.split())


def test_help_names_every_command_and_exit_code(here: Here) -> None:
    text = here("--help").out
    listed = [line.split()[0] for line in text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert listed == COMMANDS
    assert (
        "Exit codes: 0 done, 1 a promise was not met, 2 the request is wrong, 3 a device failed, 130 Ctrl-C."
        in " ".join(text.split())
    )


@pytest.mark.parametrize("command", [[], ["targets"]])
def test_without_a_command_the_help_is_shown(here: Here, command: list[str]) -> None:
    answer = here(*command)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == here(*command, "--help").out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_a_shell(shell: str) -> None:
    # Which shell is asking cannot be detected in a process that no shell started.
    answer = run("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert answer.code == 0
    assert "_EDGEPRUNE_COMPLETE=complete_" in answer.out
    assert not answer.err


def test_commands_are_completed() -> None:
    answer = run(_EDGEPRUNE_COMPLETE="complete_bash", COMP_WORDS="edgeprune comp", COMP_CWORD="1")
    assert (answer.code, answer.out.split()) == (0, ["compress", "compare"])


MISTYPED = {
    "compres": (
        "unknown command 'compres'",
        "did you mean 'compress'? known: apply, bundle, capsule, compare, compress, device, diff, embed, "
        "explain, init, inspect, keys, profile, rollback, schema, screen, ship, status, targets, verify",
    ),
    "targets lst": ("unknown command 'lst'", "did you mean 'list'? known: list, show"),
    "compress": ("missing argument MODEL", "see `edgeprune compress --help`"),
    "profile": ("missing argument FILES", "see `edgeprune profile --help`"),
    "compress m.pt": ("missing --target", "see `edgeprune compress --help`"),
    "compress m.pt --tarrget rpi4": (
        "unknown option '--tarrget'",
        "did you mean '--target'? see `edgeprune compress --help`",
    ),
    "compress m.pt -x": ("unknown option '-x'", "see `edgeprune compress --help`"),
    "compress m.pt --target": ("option '--target' requires an argument", "see `edgeprune --help`"),
    "compress m.pt --json=yes": ("option '--json' does not take a value", "see `edgeprune --help`"),
    "targets show a b": ("unexpected argument: b", "see `edgeprune targets show --help`"),
    "compress m.pt --target rpi4 --images 0": (
        "--images: input should be greater than or equal to 1",
        "see `edgeprune compress --help`",
    ),
    "compress m.pt --target rpi4 --speedup fast": (
        "--speedup: input should be a valid number, unable to parse string as a number",
        "see `edgeprune compress --help`",
    ),
    "schema reprot": (
        "unknown document 'reprot'",
        "did you mean 'report'? known: application, assets, bundle, capsule, capsule-lock, comparison, "
        "contents, device, device-run, diagnosis, emulation, explanation, fleet, inspection, job, plan, "
        "plan-difference, profile, recipe, report, rollout, screening, shelf, shipment, signature, target, "
        "transcript",
    ),
}


@pytest.mark.parametrize("line", MISTYPED)
def test_a_mistyped_line_gives_the_nearest_name_and_exit_code_2(here: Here, line: str) -> None:
    answer = here(*line.split())
    assert (answer.code, answer.refusal) == (2, MISTYPED[line])
