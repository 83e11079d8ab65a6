"""Compute loss surfaces in parameter space."""

import argparse

from randrop.errors import UserError

NAME = "landscape"
HELP = "loss surfaces in parameter space"
DESCRIPTION = """\
Compute loss surfaces in parameter space.
"""
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""


def run(options: argparse.Namespace) -> int:
    """Return 0."""
    raise UserError("surface.py landscape is not available in this version")
