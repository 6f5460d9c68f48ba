"""The command `edgeprune`: one file per family of commands, errors as two lines and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

import edgeprune
from edgeprune.cli import compare, compress, inspect, profile, schema, setup, targets
from edgeprune.core.errors import EdgepruneError, Interrupted, RequestError, nearest

# typer carries its own copy of click since 0.20: its usage errors are found through a public child.
_UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="edgeprune",
    help="From a trained PyTorch model to a measured, shipped file on an edge device.",
    epilog="Exit codes: 0 done, 1 a promise was not met, 2 the request is wrong, 3 a device failed, 130 Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(compress.compress)
app.command()(inspect.inspect)
app.command()(profile.profile)
app.command()(compare.compare)
app.command()(setup.init)
app.command()(schema.schema)
app.add_typer(targets.app, name="targets")


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
    except EdgepruneError as error:
        code = _fail(error)
    except _UsageError as error:
        code = _fail(_usage(error))
    except (typer.Abort, KeyboardInterrupt):
        code = _fail(Interrupted("interrupted", hint="the same command goes on where it stopped"))
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: EdgepruneError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code


def _usage(error: Any) -> EdgepruneError:
    """A mistyped command or option, with the nearest one that exists."""
    command = error.ctx.command_path if error.ctx else "edgeprune"
    wrong = getattr(error, "option_name", None)
    hint = f"see `{command} --help`"
    if wrong and error.ctx:
        close = nearest(wrong, [name for option in error.ctx.command.params for name in option.opts])
        hint = f"did you mean '{close}'? see `{command} --help`" if close else hint
    message = (error.message or error.format_message()).split("\n")[0].rstrip(".")
    return RequestError(message[:1].lower() + message[1:], hint=hint)
