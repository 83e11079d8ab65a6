"""Every loss as a plain NumPy function: the readable definition of the native layers.

Nothing here imports Caffe. Each function takes logits and label and returns a
`LossResult`.
"""

from randrop.losses.common import LossResult
from randrop.losses.dice import dice, top_k_dice
from randrop.losses.explog import exp_log
from randrop.losses.focal import sigmoid_focal, softmax_focal
from randrop.losses.randomdrop import (
    SCHEDULES,
    drop_probability,
    keep_probability,
    random_drop,
)
from randrop.losses.topk import sigmoid_top_k, softmax_top_k
from randrop.losses.tversky import tversky

__all__ = [
    "SCHEDULES",
    "LossResult",
    "dice",
    "drop_probability",
    "exp_log",
    "keep_probability",
    "random_drop",
    "sigmoid_focal",
    "sigmoid_top_k",
    "softmax_focal",
    "softmax_top_k",
    "top_k_dice",
    "tversky",
]
