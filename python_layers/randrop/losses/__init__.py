"""Every loss as a plain NumPy function: the readable definition of the native layers.

Nothing here imports Caffe. Each function takes logits and label and returns a
`LossResult`.
"""

from randrop.losses.common import LossResult
from randrop.losses.randomdrop import SCHEDULES, drop_probability, random_drop

__all__ = ["SCHEDULES", "LossResult", "drop_probability", "random_drop"]
