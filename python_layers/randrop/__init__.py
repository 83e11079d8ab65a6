"""Losses, data, networks and evaluation for segmenting objects of a few pixels."""

__version__ = "0.1.0"
