"""Fixes that let an old Caffe tree build and run with today's libraries.

Each mend fixes one problem, and applies only if the tree has the text that it mends.
All are safe with old libraries: they check versions where that matters.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Mend:
    """A change to one file.

    Attributes
    ----------
    name, why : str
        Its name and its purpose.
    path : str
        The file, relative to the tree.
    changes : tuple of (str, str)
        Regular expressions and their replacements.
    """

    name: str
    why: str
    path: str
    changes: tuple[tuple[str, str], ...]

    def apply(self, text: str) -> str:
        """Return the mended text; the same text if there is nothing to mend."""
        newline = "\r\n" if "\r\n" in text else "\n"
        plain = text.replace("\r\n", "\n")
        for pattern, replacement in self.changes:
            plain = re.sub(pattern, replacement, plain, flags=re.MULTILINE)
        return plain.replace("\n", newline)

    def fits(self, text: str) -> bool:
        """Return whether every change finds its place in the text."""
        plain = text.replace("\r\n", "\n")
        return all(re.search(p, plain, re.MULTILINE) for p, _ in self.changes)


def _guarded(statement: str) -> tuple[str, str]:
    """Guard a statement so that CUDA 13 skips it; do not guard it twice."""
    return (
        rf"(?<!#if CUDART_VERSION < 13000\n)(^{statement})",
        r"#if CUDART_VERSION < 13000\n\1\n#endif",
    )


MENDS = (
    Mend(
        "protobuf-bytes-limit",
        "CodedInputStream::SetTotalBytesLimit takes one argument since protobuf 3.6",
        "src/caffe/util/io.cpp",
        (
            (
                r"(?<!#else\n)^( *)(\w+->SetTotalBytesLimit\(\w+), \d+\);",
                "#if GOOGLE_PROTOBUF_VERSION >= 3006000\n"
                r"\1\2);"
                "\n#else\n"
                r"\g<0>"
                "\n#endif",
            ),
        ),
    ),
    Mend(
        "numpy-2",
        "NumPy 2 has neither tostring nor binary fromstring; scikit-image has no "
        "as_grey",
        "python/caffe/io.py",
        (
            (r"\barr\.tostring\(\)", "arr.tobytes()"),
            (
                r"np\.fromstring\((datum\.data, dtype=np\.uint8)\)\.reshape",
                r"np.frombuffer(\1).copy().reshape",
            ),
            (r"\bas_grey=", "as_gray="),
        ),
    ),
    Mend(
        "random-shuffle",
        "C++17 has no std::random_shuffle; Caffe's own shuffle obeys random_seed",
        "src/caffe/layers/hdf5_data_layer.cpp",
        (
            (r"\bstd::random_shuffle\(", "caffe::shuffle("),
            (
                r'(#include "caffe/util/hdf5\.hpp"\n)'
                r'(?!#include "caffe/util/rng\.hpp")',
                r'\1#include "caffe/util/rng.hpp"' "\n",
            ),
        ),
    ),
    Mend(
        "without-hdf5",
        "net.cpp calls the HDF5 library even in a build without it",
        "src/caffe/net.cpp",
        (
            (
                r"^  if \(H5Fis_hdf5\(trained_filename\.c_str\(\)\)\) \{\n"
                r"    CopyTrainedLayersFromHDF5\(trained_filename\);\n"
                r"  \} else \{\n"
                r"    CopyTrainedLayersFromBinaryProto\(trained_filename\);\n"
                r"  \}\n",
                "#ifdef USE_HDF5\n"
                "  if (H5Fis_hdf5(trained_filename.c_str())) {\n"
                "    CopyTrainedLayersFromHDF5(trained_filename);\n"
                "    return;\n"
                "  }\n"
                "#endif  // USE_HDF5\n"
                "  CopyTrainedLayersFromBinaryProto(trained_filename);\n",
            ),
        ),
    ),
    Mend(
        "cmake-4",
        "CMake 4 rejects projects that require less than 3.5",
        "CMakeLists.txt",
        ((r"^(cmake_minimum_required\(VERSION 2\.8\.\d+)\)", r"\1...3.5)"),),
    ),
    Mend(
        "protobuf-version",
        "protobuf's minor version has two digits; since 22 it needs abseil and C++17",
        "cmake/ProtoBuf.cmake",
        (
            (
                r"^find_package\( Protobuf REQUIRED \)\n",
                "find_package(Protobuf CONFIG QUIET)\n"
                "if(TARGET protobuf::libprotobuf AND "
                "NOT protobuf_VERSION VERSION_LESS 4.22)\n"
                "  # The target brings abseil along; the headers want C++17.\n"
                "  set(PROTOBUF_FOUND TRUE)\n"
                "  set(PROTOBUF_LIBRARIES protobuf::libprotobuf)\n"
                "  get_target_property(PROTOBUF_INCLUDE_DIR protobuf::libprotobuf\n"
                "                      INTERFACE_INCLUDE_DIRECTORIES)\n"
                "  get_target_property(PROTOBUF_PROTOC_EXECUTABLE protobuf::protoc "
                "LOCATION)\n"
                "  set(CMAKE_CXX_STANDARD 17)\n"
                "else()\n"
                "  find_package(Protobuf REQUIRED)\n"
                "endif()\n",
            ),
            (
                r"^  string\(REGEX MATCH [^\n]* \$\{GOOGLE_PROTOBUF_VERSION\}\)\n"
                r"  set\(PROTOBUF_VERSION [^\n]*\n",
                '  if("${GOOGLE_PROTOBUF_VERSION}" MATCHES "^[0-9]+$")\n'
                '    math(EXPR major "${GOOGLE_PROTOBUF_VERSION} / 1000000")\n'
                '    math(EXPR minor "${GOOGLE_PROTOBUF_VERSION} / 1000 % 1000")\n'
                '    math(EXPR micro "${GOOGLE_PROTOBUF_VERSION} % 1000")\n'
                '    set(PROTOBUF_VERSION "${major}.${minor}.${micro}")\n'
                "  endif()\n",
            ),
        ),
    ),
    Mend(
        "boost-system",
        "Boost 1.89 and newer have no library `system`",
        "cmake/Dependencies.cmake",
        (
            (
                r"^(find_package\(Boost [\d.]+ REQUIRED COMPONENTS) system thread "
                r"filesystem\)",
                r"\1 thread filesystem OPTIONAL_COMPONENTS system)",
            ),
        ),
    ),
    Mend(
        "glog-export",
        "glog 0.7 and newer need GLOG_USE_GLOG_EXPORT unless its CMake target is used",
        "cmake/Modules/FindGlog.cmake",
        (
            (
                r"^  set\(GLOG_LIBRARIES \$\{GLOG_LIBRARY\}\)\n(?!  if\(EXISTS)",
                r"\g<0>"
                '  if(EXISTS "${GLOG_INCLUDE_DIR}/glog/export.h")\n'
                "    add_definitions(-DGLOG_USE_GLOG_EXPORT)\n"
                "  endif()\n",
            ),
        ),
    ),
    Mend(
        "cuda-13-device-query",
        "CUDA 13 removed three fields of cudaDeviceProp",
        "src/caffe/common.cpp",
        (
            _guarded(r'  LOG\(INFO\) << "Clock rate: +" << prop\.clockRate;'),
            _guarded(
                r'  LOG\(INFO\) << "Concurrent copy and execution: "\n'
                r' +<< \(prop\.deviceOverlap \? "Yes" : "No"\);'
            ),
            _guarded(
                r'  LOG\(INFO\) << "Kernel execution timeout: +"\n'
                r' +<< \(prop\.kernelExecTimeoutEnabled \? "Yes" : "No"\);'
            ),
        ),
    ),
    Mend(
        "cuda-13-device-test",
        "the same three fields",
        "src/caffe/test/test_platform.cpp",
        tuple(
            _guarded(rf'  printf\("{label}: [^;]*\.{field}[^;]*;')
            for label, field in (
                ("Clock rate", "clockRate"),
                ("Concurrent copy and execution", "deviceOverlap"),
                ("Kernel execution timeout", "kernelExecTimeoutEnabled"),
            )
        ),
    ),
    Mend(
        "cuda-math-header",
        "math_functions.h is deprecated since CUDA 9",
        "src/caffe/util/math_functions.cu",
        (
            (
                r"(?<!#if CUDART_VERSION < 9000\n)^#include <math_functions\.h>[^\n]*",
                r"#if CUDART_VERSION < 9000\n\g<0>\n#endif",
            ),
        ),
    ),
    Mend(
        "cuda-versions",
        "versions and architectures were compared as text: 13.0 < 9.0, and 120 became "
        "1",
        "cmake/Cuda.cmake",
        (
            (
                r'^ *string\(COMPARE LESS "\$\{CUDA_VERSION\}" "9\.0" '
                r"iscudaolderthan90\)\n  if\(NOT iscudaolderthan90\)",
                '  if(NOT "${CUDA_VERSION}" VERSION_LESS 9.0)',
            ),
            # The plain replacement also removed the 20 from 120.
            (
                r'^    string\(REPLACE "21\(20\)" "" __cuda_arch_bin '
                r'"\$\{__cuda_arch_bin\}"\)\n'
                r'    string\(REPLACE "20" "" __cuda_arch_bin '
                r'"\$\{__cuda_arch_bin\}"\)\n',
                '    list(REMOVE_ITEM __cuda_arch_bin "21(20)" "20")\n',
            ),
            # Today's compiler does not know all of these names.
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
