"""Networks, generated with pycaffe's NetSpec, their losses, and the solver."""

from randrop.nets.explog3d import explog3d
from randrop.nets.feeds import InputFeed, LmdbFeed, PatchFeed, VolumeFeed
from randrop.nets.losses import Loss, parse_losses
from randrop.nets.lseg import lseg
from randrop.nets.solver import solver
from randrop.nets.unet import unet

OF_PHOTOGRAPHS = {"unet": unet, "lseg": lseg}
"""Networks for patches of photographs, by the names that the command line takes."""

__all__ = [
    "OF_PHOTOGRAPHS",
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
