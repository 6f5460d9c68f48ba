"""The command `edgeprune`: one file per family of commands, errors as two lines and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

import edgeprune
from edgeprune.cli import (
    capsule,
    compare,
    compress,
    device,
    explain,
    inspect,
    keys,
    plans,
    profile,
    schema,
    screen,
    setup,
    shipping,
    targets,
    verify,
)
from edgeprune.cli.usage import usage_error
from edgeprune.core.errors import EdgepruneError, Interrupted, RequestError

# typer carries its own copy of click since 0.20: its usage errors are found through a public child.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="edgeprune",
    help="From a trained PyTorch model to a measured, shipped file on an edge device.",
    epilog="Exit codes: 0 done, 1 a promise was not met, 2 the request is wrong, 3 a device failed, "
    "130 Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(compress.compress)
app.command()(inspect.inspect)
app.command()(explain.explain)
app.command()(screen.screen)
app.command()(profile.profile)
app.command()(verify.verify)
app.command()(compare.compare)
app.command()(shipping.bundle)
app.command()(shipping.ship)
app.command()(shipping.rollback)
app.command()(shipping.status)
app.command()(shipping.embed)
app.command()(plans.apply)
app.command()(plans.diff)
app.command()(setup.init)
app.command()(schema.schema)
app.add_typer(targets.app, name="targets")
app.add_typer(capsule.app, name="capsule")
app.add_typer(device.app, name="device")
app.add_typer(keys.app, name="keys")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"edgeprune {edgeprune.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line; a failure is an `error:` line, a `hint:` line and an exit code."""
    try:
        code = app(standalone_mode=False)
        if code == Interrupted.exit_code:  # typer's own answer to Ctrl-C, which says nothing
            raise KeyboardInterrupt
    except EdgepruneError as error:
        code = _fail(error)
    except _UsageError as error:
        if error.message.startswith("Usage:"):  # no command given: typer's answer is the help text
            print(error.message, file=sys.stderr)
            sys.exit(RequestError.exit_code)
        code = _fail(usage_error(error))
    except (typer.Abort, KeyboardInterrupt):
        code = _fail(Interrupted("interrupted", hint="give the same command again"))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: EdgepruneError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code
