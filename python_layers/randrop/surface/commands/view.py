"""Write one HTML page that shows recordings and landscapes."""

import argparse

from randrop.errors import UserError

NAME = "view"
HELP = "one HTML page that shows recordings and landscapes"
DESCRIPTION = """\
Write one HTML page that shows recordings and landscapes.
"""
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Return 0."""
    raise UserError("surface.py view is not available in this version")
