"""The names of OpenCV's old C interface, and what they are called in `cv::`.

OpenCV 4 took the names from its C++ headers, and OpenCV 5 took the headers that still
had them. The new names are older than that: most are in OpenCV 2.4, and OpenCV 3 has
the rest.
"""

import re

# Old prefix, new prefix, endings. In OpenCV 2.4 under both names.
_SINCE_2 = """
LOAD_IMAGE_  IMREAD_  UNCHANGED GRAYSCALE COLOR ANYDEPTH ANYCOLOR
IMWRITE_     IMWRITE_ JPEG_QUALITY PNG_COMPRESSION PNG_STRATEGY PXM_BINARY
THRESH_      THRESH_  BINARY BINARY_INV TRUNC TOZERO TOZERO_INV MASK OTSU
INTER_       INTER_   LINEAR CUBIC AREA LANCZOS4
INTER_       INTER_NEAREST= NN
WARP_        WARP_    INVERSE_MAP
MOP_         MORPH_   ERODE DILATE OPEN CLOSE GRADIENT TOPHAT BLACKHAT
SHAPE_       MORPH_   RECT CROSS ELLIPSE
RETR_        RETR_    EXTERNAL LIST CCOMP TREE
CHAIN_       CHAIN_   APPROX_NONE APPROX_SIMPLE APPROX_TC89_L1 APPROX_TC89_KCOS
ADAPTIVE_    ADAPTIVE_ THRESH_MEAN_C THRESH_GAUSSIAN_C
TM_          TM_      SQDIFF SQDIFF_NORMED CCORR CCORR_NORMED CCOEFF CCOEFF_NORMED
FLOODFILL_   FLOODFILL_ FIXED_RANGE MASK_ONLY
FONT_        FONT_    HERSHEY_SIMPLEX HERSHEY_PLAIN HERSHEY_DUPLEX HERSHEY_COMPLEX
FONT_        FONT_    HERSHEY_TRIPLEX HERSHEY_COMPLEX_SMALL HERSHEY_SCRIPT_SIMPLEX
FONT_        FONT_    HERSHEY_SCRIPT_COMPLEX ITALIC
WINDOW_      WINDOW_  NORMAL AUTOSIZE OPENGL
WND_PROP_    WND_PROP_ FULLSCREEN AUTOSIZE OPENGL
EVENT_       EVENT_   MOUSEMOVE LBUTTONDOWN RBUTTONDOWN MBUTTONDOWN LBUTTONUP RBUTTONUP
EVENT_       EVENT_   MBUTTONUP LBUTTONDBLCLK RBUTTONDBLCLK MBUTTONDBLCLK
EVENT_FLAG_  EVENT_FLAG_ LBUTTON RBUTTON MBUTTON CTRLKEY SHIFTKEY ALTKEY
CMP_         CMP_     EQ GT GE LT LE NE
SORT_        SORT_    EVERY_ROW EVERY_COLUMN ASCENDING DESCENDING
.            NORM_    L1 L2 MINMAX
.            DECOMP_  LU SVD QR CHOLESKY
TERMCRIT_    TermCriteria:: EPS
TERMCRIT_    TermCriteria::MAX_ITER= ITER
TERMCRIT_    TermCriteria::COUNT= NUMBER
"""
# The same, of which OpenCV 2.4 has only the old: opencv_names.hpp has the new.
_SINCE_3 = """
.            .        FILLED
.            LINE_    AA
REDUCE_      REDUCE_  SUM AVG MAX MIN
HOUGH_       HOUGH_   STANDARD PROBABILISTIC MULTI_SCALE GRADIENT
COMP_        HISTCMP_ CORREL CHISQR INTERSECT BHATTACHARYYA
WARP_        WARP_    FILL_OUTLIERS
WINDOW_      WINDOW_  FREERATIO KEEPRATIO
CAP_         CAP_     ANY V4L V4L2 FIREWIRE DSHOW ANDROID
CAP_PROP_    CAP_PROP_ POS_MSEC POS_FRAMES POS_AVI_RATIO FRAME_WIDTH FRAME_HEIGHT FPS
CAP_PROP_    CAP_PROP_ FOURCC FRAME_COUNT FORMAT MODE BRIGHTNESS CONTRAST SATURATION
CAP_PROP_    CAP_PROP_ HUE GAIN EXPOSURE CONVERT_RGB RECTIFICATION
"""
_SPACE = (
    "BGRA?|RGBA?|GRAY|HSV|HLS|Lab|LBGR|LRGB|Luv|XYZ|YCrCb|BGR5[56]5|YUV|YUV420s?p"
    "|Bayer(?:BG|GB|RG|GR)|m?RGBA"
)
_CONVERSION = re.compile(
    rf"CV_((?:{_SPACE})2(?:{_SPACE})(?:_(?:NV12|NV21|YV12|IYUV|I420|420|FULL|VNG|Y422"
    r"|UYVY|UYNV|YUY2|YVYU|YUYV|YUNV))?)$"
)
_MODULES = {
    "IMREAD_": "highgui",
    "IMWRITE_": "highgui",
    "WINDOW_": "highgui",
    "WND_": "highgui",
    "EVENT_": "highgui",
    "CAP_": "highgui",
    **dict.fromkeys(
        ("NORM_", "DECOMP_", "TermCriteria", "CMP_", "SORT_", "REDUCE_"), "core"
    ),
}


def _read(table: str) -> dict[str, str]:
    names = {}
    for line in table.strip().splitlines():
        old, new, *endings = line.split()
        for ending in endings:
            prefix = "" if old == "." else old
            name = new[:-1] if new.endswith("=") else new.strip(".") + ending
            names[f"CV_{prefix}{ending}"] = name
    return names


_OLD = _read(_SINCE_2)
_MIDDLE = _read(_SINCE_3)


def successor(name: str) -> str | None:
    """Return the name in `cv::` of a name of the C interface, if it has one."""
    found = _OLD.get(name) or _MIDDLE.get(name)
    if found:
        return found
    match = _CONVERSION.match(name)
    return f"COLOR_{match[1]}" if match else None


def since_3(name: str) -> bool:
    """Return whether OpenCV 2.4 has only the old name."""
    return name in _MIDDLE


def module(new: str) -> str:
    """Return the module of OpenCV 2.4 whose C++ header has a name of `cv::`."""
    for prefix, found in _MODULES.items():
        if new.startswith(prefix):
            return found
    return "imgproc"


def old_names() -> list[str]:
    """Return the names of the tables, for tests."""
    return [*_OLD, *_MIDDLE]
