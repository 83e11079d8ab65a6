"""Draw loss and gradient of every loss against p and against the logit."""

import argparse

from randrop.errors import UserError

NAME = "curves"
HELP = "loss and gradient against p and the logit"
DESCRIPTION = """\
Draw loss and gradient of every loss against p and against the logit.
"""
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Return 0."""
    raise UserError("surface.py curves is not available in this version")
