"""Draw figures for papers from recordings and landscapes."""

import argparse

from randrop.errors import UserError

NAME = "figure"
HELP = "figures for papers from recordings and landscapes"
DESCRIPTION = """\
Draw figures for papers from recordings and landscapes.
"""
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Return 0."""
    raise UserError("surface.py figure is not available in this version")
