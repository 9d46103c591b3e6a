"""The commands: parse, call, print. Whatever is slow to import stays behind the command that needs it."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from xentlab import __version__
from xentlab.cli.commands import COMMANDS
from xentlab.cli.contract import Command
from xentlab.cli.output import lenient
from xentlab.config.words import check_words
from xentlab.disk import cannot_go_on, disk_refuses
from xentlab.errors import StoppedError, UserError, unknown
from xentlab.plain import visible


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are the user's, in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}; `{self.prog} --help` says what there is.")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(
        prog="xentlab",
        description="Which loss should I train with, and does it matter here? A laboratory that answers with evidence.",
        epilog="Begin with:\n  xentlab compare comparison=quickstart\n  xentlab ui",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"xentlab {__version__}")
    _add(top, COMMANDS)
    return top


def _add(parser: argparse.ArgumentParser, commands: Sequence[Command]) -> None:
    into = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        made = into.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog="Examples:\n" + "\n".join(f"  {e}" for e in command.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=command.arguments is not None,
        )
        made.set_defaults(command=command)
        for argument in command.arguments or ():
            made.add_argument(*argument.flags, **argument.options)
        if command.subcommands:
            _add(made, command.subcommands)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 something failed, 2 the user's mistake, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any("://" in argument for argument in arguments):  # of a tracking server, perhaps with its password
        from xentlab.tracking.settings import hide_passwords

        arguments = hide_passwords(arguments)
        if argv is None:
            sys.argv[1:] = arguments
    if argv is None:
        sys.stdout, sys.stderr = lenient(sys.stdout), lenient(sys.stderr)
        atexit.register(gc.freeze)  # nothing is to be looked through at the end: half a second with torch
        gc.disable()  # nor at the start, see `Command.function`: a tenth of it
    # Idle worker threads that spin take the core from the process beside them: ten times slower on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        first = next((command for command in COMMANDS if [command.name] == arguments[:1]), None)
        if first is not None and first.arguments is None:
            return _with_overrides(first, arguments[1:])
        options = vars(parser().parse_args(_spelled(arguments)))
        return options.pop("command").function()(**options)
    except (UserError, StoppedError) as error:
        said, code = str(error), 2 if isinstance(error, UserError) else 1
    except OSError as error:
        if not disk_refuses(error):
            raise
        place = Path(os.fsdecode(error.filename)) if error.filename is not None else Path.cwd()
        said, code = str(cannot_go_on(place, error)), 1
    except KeyboardInterrupt as error:
        said, code = str(error) or "interrupted; the same command goes on from the last checkpoint.", 130
    print(visible(f"xentlab: {said}"), file=sys.stderr)
    return code


def _spelled(arguments: Sequence[str]) -> list[str]:
    """The arguments with the first subcommand where a group of them is called alone; every command is one that is."""
    words = list(arguments)
    if words and not words[0].startswith("-"):
        command = _named(COMMANDS, words[0], "command")
        if command.subcommands:
            alone = len(words) == 1 or words[1].startswith("-")
            if alone and not {"-h", "--help"} & set(words):
                words.insert(1, command.subcommands[0].name)
            elif not alone:
                _named(command.subcommands, words[1], f"command of `xentlab {command.name}`")
    return words


def _named(commands: Sequence[Command], name: str, kind: str) -> Command:
    found = next((command for command in commands if command.name == name), None)
    if found is None:
        raise unknown(kind, name, [command.name for command in commands])
    return found


def _with_overrides(command: Command, overrides: list[str]) -> int:
    """A command that takes Hydra's overrides, or its help."""
    from xentlab.environment import load_ahead

    if {"-h", "--help"} & set(overrides):
        from xentlab.cli.listing import print_hydra_help

        print_hydra_help(command)
        return 0
    check_words(command.name, overrides)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # see `run_composed`; set while no other thread reads what is set
    load_ahead()
    importlib.import_module("xentlab.config.launcher")  # Hydra
    try:
        return command.function()(overrides)
    except SystemExit as error:
        if error.code:
            raise
        message = "The code of a loss, a model or a dataset asked to end the process, before anything was trained."
        raise StoppedError(message) from error
