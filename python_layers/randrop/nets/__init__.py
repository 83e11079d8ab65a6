"""Networks, generated with pycaffe's NetSpec, their losses, and the solver."""

from randrop.nets.explog3d import explog3d
from randrop.nets.feeds import InputFeed, LmdbFeed, PatchFeed, VolumeFeed
from randrop.nets.losses import KINDS, Loss, parse_losses
from randrop.nets.lseg import lseg
from randrop.nets.solver import solver
from randrop.nets.unet import unet

__all__ = [
    "KINDS",
    "InputFeed",
    "LmdbFeed",
    "Loss",
    "PatchFeed",
    "VolumeFeed",
    "explog3d",
    "lseg",
    "parse_losses",
    "solver",
    "unet",
]
