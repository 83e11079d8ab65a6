"""Mends for CUDA toolkits of today."""

from caffe_tools.mends.mend import Mend


def _guarded(statement: str) -> tuple[str, str]:
    """Guard a statement so that CUDA 13 skips it; do not guard it twice."""
    return (
        rf"(?<!#if CUDART_VERSION < 13000\n)(^{statement})",
        r"#if CUDART_VERSION < 13000\n\1\n#endif",
    )


_FIELDS = (
    ("Clock rate", "clockRate"),
    ("Concurrent copy and execution", "deviceOverlap"),
    ("Kernel execution timeout", "kernelExecTimeoutEnabled"),
)
_GONE = r"\bprop\.(?:clockRate|deviceOverlap|kernelExecTimeoutEnabled)\b"

CUDA_MENDS = (
    *(
        Mend(
            "cuda-13-device-query",
            "CUDA 13 removed three fields of cudaDeviceProp",
            "src/caffe/common.cpp",
            (_guarded(rf'[ \t]*LOG\(INFO\) << "{label}: [^;]*\.{field}\b[^;]*;'),),
        )
        for label, field in _FIELDS
    ),
    *(
        Mend(
            "cuda-13-device-test",
            "the same three fields",
            "src/caffe/test/test_platform.cpp",
            (_guarded(rf'[ \t]*printf\("{label}: [^;]*\.{field}[^;]*;'),),
        )
        for label, field in _FIELDS
    ),
    Mend(
        "cuda-math-header",
        "math_functions.h is deprecated since CUDA 9",
        "*.cu *.cuh",
        (
            (
                r"(?<!#if CUDART_VERSION < 9000\n)^#include <math_functions\.h>[^\n]*",
                r"#if CUDART_VERSION < 9000\n\g<0>\n#endif",
            ),
        ),
    ),
    Mend(
        "cuda-versions",
        "versions were compared as text: 13.0 < 9.0",
        "cmake/Cuda.cmake",
        (
            (
                r'^ *string\(COMPARE LESS "\$\{CUDA_VERSION\}" "9\.0" '
                r"iscudaolderthan90\)\n  if\(NOT iscudaolderthan90\)",
                '  if(NOT "${CUDA_VERSION}" VERSION_LESS 9.0)',
            ),
        ),
    ),
    Mend(
        "cuda-architectures",
        "the plain replacement also removed the 20 from 120",
        "cmake/Cuda.cmake",
        (
            (
                r'^    string\(REPLACE "21\(20\)" "" __cuda_arch_bin '
                r'"\$\{__cuda_arch_bin\}"\)\n'
                r'    string\(REPLACE "20" "" __cuda_arch_bin '
                r'"\$\{__cuda_arch_bin\}"\)\n',
                '    list(REMOVE_ITEM __cuda_arch_bin "21(20)" "20")\n',
            ),
        ),
    ),
    Mend(
        "cuda-diagnostics",
        "today's compiler does not know all names of warnings",
        "cmake/Cuda.cmake",
        (
            (
                r"(?<!VERSION_LESS 11\.0\)\n)^foreach\(diag cc_clobber_ignored "
                r"integer_sign_change "
                r"useless_using_declaration set_but_not_used\)\n"
                r"  list\(APPEND CUDA_NVCC_FLAGS -Xcudafe "
                r"--diag_suppress=\$\{diag\}\)\n"
                r"endforeach\(\)\n",
                'if("${CUDA_VERSION}" VERSION_LESS 11.0)\n'
                r"\g<0>"
                "endif()\n",
            ),
        ),
    ),
)
