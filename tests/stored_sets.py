"""Sets with their decoded photographs in files, for tests."""

import numpy as np

from randrop.data import read_dataset, stored
from randrop.data.arrays import write_arrays
from randrop.data.patches import Options, PatchSource

OPTIONS = Options(("MA", "HE"), 64, lesion_draw="lesion", paste=0.5)


def write_all_arrays(folder):
    (folder / "arrays").mkdir(exist_ok=True)
    cases = read_dataset(folder).cases
    for case in cases:
        write_arrays(case)
    stored.write_index(folder, cases)
    return cases


def patches_of(folder, keep=None, options=OPTIONS, number=12):
    source = PatchSource(read_dataset(folder), "train", options, keep)
    return [source.patch(k) for k in range(number)]


def assert_same(one, other):
    for some, others in zip(one, other, strict=True):
        for array, expected in zip(some, others, strict=True):
            np.testing.assert_array_equal(array, expected)
