"""A mistyped command line in edgeprune's own words: one message, and the nearest name as the hint."""

from __future__ import annotations

from typing import Any

from edgeprune.core.errors import RequestError, did_you_mean, nearest


def usage_error(error: Any) -> RequestError:
    """What typer refuses, retold; its error classes are private, so the message tells them apart."""
    context: Any = error.ctx
    see = f"see `{context.command_path if context else 'edgeprune'} --help`"
    said = str(error.message or error.format_message()).partition("\n")[0].rstrip(".")
    said = said[:1].lower() + said[1:]
    if said.startswith("no such option"):
        return RequestError(f"unknown option '{error.option_name}'", hint=_near_option(error, see))
    if said.startswith("no such command"):
        name = said.split("'")[1]
        return RequestError(f"unknown command '{name}'", hint=did_you_mean(name, context.command.commands))
    if said.startswith("got unexpected extra argument"):
        return RequestError(f"unexpected argument: {said.partition(' (')[2].rstrip(')')}", hint=see)
    param = getattr(error, "param", None)
    if param is None:
        return RequestError(said, hint=see)
    named = f"argument {param.name.upper()}" if param.param_type_name == "argument" else param.opts[0]
    return RequestError(f"missing {named}" if said.startswith("missing") else f"{named}: {said}", hint=see)


def _near_option(error: Any, see: str) -> str:
    params = error.ctx.command.params if error.ctx else []
    # Single letters are all alike, so only long options are near one another.
    close = nearest(error.option_name, [name for one in params for name in one.opts if name[:2] == "--"])
    return f"did you mean '{close}'? {see}" if close else see
