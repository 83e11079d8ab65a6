"""Show what losses do: curves, maps through a training, landscapes."""

WANTED: str = "Python 3.10 or newer"

import argparse

import _start  # noqa: F401

from randrop import cli
from randrop.surface.commands import COMMANDS

DESCRIPTION = """\
Show what losses do.

'surface.py COMMAND --help' explains a command.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names; return its status."""
    options = _parse(arguments)
    return options.run_command(options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = cli.parser(DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        one = commands.add_parser(
            module.NAME,
            help=module.HELP,
            **cli.wording(module.DESCRIPTION, module.EXAMPLES),
        )
        module.add_arguments(one)
        one.set_defaults(run_command=module.run)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    cli.run(main)
