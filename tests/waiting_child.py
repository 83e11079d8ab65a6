"""Prints the processor seconds that waiting threads take, for test_engine.py.

The process sleeps between passes of a convolution on two threads. It imports Caffe's
own package, because our import_caffe sets GOMP_SPINCOUNT.
"""

import tempfile
import time
from pathlib import Path

import caffe

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 16 dim: 256 dim: 256 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3
    weight_filler { type: "msra" } } }
"""


def main() -> None:
    """Sleep 50 times for a fiftieth of a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.prototxt")
        path.write_text(NET)
        net = caffe.Net(str(path), caffe.TEST)
    net.forward()
    taken = 0.0
    for _ in range(50):
        net.forward()
        begun = time.process_time()
        time.sleep(0.02)
        taken += time.process_time() - begun
    print(taken)


if __name__ == "__main__":
    main()
