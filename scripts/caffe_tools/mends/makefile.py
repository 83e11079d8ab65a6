"""Mends of Caffe's Makefile."""

from caffe_tools.mends.mend import Mend

MAKEFILE_MENDS = (
    Mend(
        "make-opencv-version",
        "OpenCV 3, 4 and 5 have the same libraries",
        "Makefile",
        (
            (
                r"^([ \t]*)ifeq \(\$\(OPENCV_VERSION\), *3\)$",
                r"\1ifneq ($(filter 3 4 5,$(OPENCV_VERSION)),)",
            ),
        ),
    ),
    Mend(
        "make-opencv-config",
        "pkg-config knows OpenCV 4 and 5 by their versions",
        "Makefile",
        (
            (
                r"^([ \t]*)PKG_CONFIG := \$\(shell pkg-config opencv --libs\)$",
                r"\1OPENCV_NAME := $(firstword $(foreach name,opencv5 opencv4 opencv,"
                r"$(shell pkg-config --exists $(name) && echo $(name))))"
                "\n"
                r"\1COMMON_FLAGS += $(shell pkg-config $(OPENCV_NAME) --cflags)"
                "\n"
                r"\1PKG_CONFIG := $(shell pkg-config $(OPENCV_NAME) --libs)",
            ),
        ),
    ),
)
