"""The command ``hush``: from arguments to an exit code.

Every way in which a command may end meets here, so that none of them shows a traceback
unless Hush itself is at fault. Nothing heavy is loaded before a command needs it.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from hush.cli import exits
from hush.cli.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main",)

_PACKAGES = {"rich", "typer"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        How the process is to exit, one of :mod:`hush.cli.exits`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given or ["--help"])
        sys.stdout.flush()
    except Refusal as refusal:
        return _refused(refusal.message, refusal.code)
    except KeyboardInterrupt:
        return _refused("interrupted", exits.INTERRUPTED)
    except BrokenPipeError:
        _stop_writing()
        return exits.BROKEN_PIPE
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        return _refused(
            f"the commands need the package {error.name}: pip install 'hush-runtime[cli]'",
            exits.USAGE,
        )
    return code


def _run(arguments: list[str]) -> int:
    import typer  # noqa: PLC0415  # not there without the extra "cli"

    from hush.cli.app import app  # noqa: PLC0415  # likewise

    command = typer.main.get_command(app)
    try:
        # Not command.main(), which has exit codes of its own for what is caught above.
        with command.make_context("hush", arguments) as context:
            code = command.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except typer.Abort:
        return _refused("interrupted", exits.INTERRUPTED)
    except Exception as error:
        # The errors of what parses the arguments have changed their place between versions of
        # typer; each can format itself.
        formatted = getattr(error, "format_message", None)
        if formatted is not None:
            where = getattr(getattr(error, "ctx", None), "command_path", "hush")
            raise Refusal(f"{formatted()}\ntry: {where} --help") from error
        refusal = _known(error)
        if refusal is None:
            raise
        raise refusal from error
    return code if isinstance(code, int) else exits.OK


def _known(error: Exception) -> Refusal | None:
    """Return what to say about an error of Hush; None where it is nobody's mistake."""
    from hush.errors import HushError, text_of  # noqa: PLC0415  # only where something is wrong
    from hush.insight import source_errors  # noqa: PLC0415  # likewise

    if isinstance(error, source_errors.TraceNotFoundError):
        # What was tried, a line each; the first says again what was asked for.
        said = re.sub(r"^no trace (.+?): (?=no trace \1 )", "", error.message)
        lines = said.split("; ") if said.startswith("no trace ") else [said]
        # Who named a file or an address did not ask the store.
        if lines[0].startswith("no trace ") and "://" not in lines[0]:
            lines.append("hush traces lists what is stored")
        return Refusal("\n".join(lines), exits.NOT_FOUND)
    if isinstance(
        error,
        source_errors.TraceStoreError
        | source_errors.TraceFormatError
        | source_errors.TraceBackendError,
    ):
        return Refusal(text_of(error), exits.FAILED)
    return Refusal(text_of(error), exits.USAGE) if isinstance(error, HushError) else None


def _refused(message: str, code: int) -> int:
    from hush.cli.output import say_error  # noqa: PLC0415  # only where something is wrong

    try:
        sys.stdout.flush()
        say_error(message)
    except BrokenPipeError:
        _stop_writing()
    return code


def _stop_writing() -> None:
    """Let nothing more be written, also not when the interpreter ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(nowhere, stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        pass
