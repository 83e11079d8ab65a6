"""The shell that builds a tree in a cell of tests/matrix.py, in another Debian."""

import re

from matrix_cells import REPOSITORY, Cell, our_tests

_PAGE = REPOSITORY / "docs" / "how-to" / "patch-by-hand.md"

VERSIONS = r"""
version() { printf '%s=' "$1"; shift; "$@" 2>/dev/null | head -1; echo; }
package() { dpkg-query -W -f "$1=\${Version}\n" "$2" 2>/dev/null || true; }
version compiler "$CXX" -dumpfullversion -dumpversion
version CMake sh -c 'cmake --version | sed s/[^0-9]*//'
version Python sh -c 'python3 -V | sed s/[^0-9]*//'
version NumPy python3 -c 'import numpy; print(numpy.__version__)'
version protobuf sh -c 'protoc --version | sed s/[^0-9]*//'
version OpenCV sh -c 'pkg-config --modversion opencv5 || pkg-config --modversion \
  opencv4'
version glog pkg-config --modversion libglog
package Boost libboost-filesystem-dev
package HDF5 libhdf5-dev
package oneDNN libdnnl-dev
"""
"""Prints NAME=VERSION lines; $CXX is the compiler."""

# $TREE, $CXX, $CC, $JOBS come from the caller. "STEP name" lines tell where it is.
_CMAKE = r"""
echo "STEP configure"
cmake -S "$TREE" -B "$TREE/build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" \
  -DCPU_ONLY=ON -DBLAS=Open -DUSE_LEVELDB=OFF \
  -DUSE_OPENMP=ON -DBUILD_docs=OFF -Dpython_version=3 \
  -DBUILD_only_tests="@TESTS@"
echo "STEP build"
make -C "$TREE/build" -j"$JOBS" caffe caffe.bin pycaffe
echo "STEP build tests"
make -C "$TREE/build" -j"$JOBS" test.testbin
echo "STEP pycaffe"
cd "$TREE/python/caffe"
python3 -c "import _caffe; print('\n'.join(_caffe.layer_type_list()))"
echo "STEP test"
cd "$TREE"
build/test/test.testbin --gtest_filter='*Randrop*:-*GPU*' 2>&1
"""

_MAKE = r"""
echo "STEP configure"
cd "$TREE"
cp Makefile.config.example Makefile.config
cat >> Makefile.config <<EOF
CPU_ONLY := 1
USE_LEVELDB := 0
OPENCV_VERSION := 3
BLAS := open
CUSTOM_CXX := ccache $CXX
BLAS_INCLUDE := $(dirname "$(find /usr/include -name cblas.h | head -1)")
BLAS_LIB := $(dirname "$(find /usr/lib -name libopenblas.so | head -1)")
INCLUDE_DIRS := /usr/include/hdf5/serial /usr/include/opencv4 \
  $(dirname "$(find /usr/include -name cblas.h | head -1)")
LIBRARY_DIRS := $(dirname "$(find /usr/lib -path '*hdf5/serial/libhdf5.so')")
EOF
echo "STEP build"
make -j"$JOBS" lib .build_release/tools/caffe.bin
echo "STEP build tests"
make -j"$JOBS" @BINARIES@
echo "STEP test"
for program in @BINARIES@; do
  "$program" --gtest_filter='*Randrop*:-*GPU*' 2>&1
done
"""

# As an Ubuntu whose packages are installed: apt knows no Debian archive.
_UBUNTU = r"""
mount -t tmpfs tmpfs /etc/apt
echo "deb http://ubuntu.invalid/ubuntu noble main" > /etc/apt/sources.list
"""

_TOOL = r"""
echo "STEP build"
export RANDROP_BUILD="$(dirname "$TREE")/build"
cd /repository
python3 scripts/build_caffe.py --no-tests --jobs "$JOBS" @SOURCE@
tree="$RANDROP_BUILD/caffe"
echo "STEP build tests"
cmake -DBUILD_only_tests="@TESTS@" "$tree/build"
make -C "$tree/build" -j"$JOBS" test.testbin
echo "STEP test"
cd "$tree"
build/test/test.testbin --gtest_filter='*Randrop*:-*GPU*' 2>&1
"""

# What -I and -D Caffe's build gives; the protocol's header is made first.
_COMPILE = r"""
echo "STEP configure"
cd "$TREE"
mkdir -p .build-matrix/caffe/proto
protoc --proto_path=src/caffe/proto --cpp_out=.build-matrix/caffe/proto \
  src/caffe/proto/caffe.proto
flags="-fsyntax-only -w -fopenmp -DCPU_ONLY -DUSE_OPENCV -DUSE_LMDB -DUSE_HDF5
  -DUSE_ONEDNN -Iinclude -I.build-matrix -Isrc -I/usr/include/hdf5/serial
  $(pkg-config --cflags opencv5 2>/dev/null || pkg-config --cflags opencv4)
  -I$(dirname "$(find /usr/include -name cblas.h | head -1)")
  $(pkg-config --cflags protobuf libglog 2>/dev/null || true)"
if [ "$(protoc --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" -ge 22 ]; then
  flags="$flags -std=gnu++17"
fi
failed=0 count=0
echo "STEP compile"
while read -r file; do
  [ -e "$file" ] || continue
  # pycaffe's file needs Python's headers.
  case "$file" in python/*) continue ;; esac
  count=$((count + 1))
  if ! $CXX $flags "$file" 2> .build-matrix/errors; then
    failed=$((failed + 1))
    head -5 .build-matrix/errors
  fi
done < changed.txt
echo "COMPILED $count files, $failed failed"
[ $count -gt 40 ] && [ $failed = 0 ]
"""


def _by_hand() -> str:
    """Return the page's commands that add the layers."""
    found = re.search(r"^```sh\n(.*?)^```", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = found[1].replace("/path/to/caffe", '"$TREE"')
    return f'echo "STEP patch"\ncd /repository\n{commands}'


def script(cell: Cell) -> str:
    """Return the shell of a cell, to be run with `sh -e`."""
    tests = our_tests()
    text = {
        "cmake": _CMAKE,
        "make": _MAKE,
        "hand": _by_hand() + _CMAKE,
        "tool": (_UBUNTU if cell.tree == "pypi" else "") + _TOOL,
        "compile": _COMPILE,
    }[cell.how]
    binaries = " ".join(f".build_release/test/test_{name}.testbin" for name in tests)
    source = {"pypi": "", "debian": ""}.get(cell.tree, '--caffe-root "$TREE"')
    return (
        text.replace("@TESTS@", ",".join(tests))
        .replace("@BINARIES@", binaries)
        .replace("@SOURCE@", source)
    )
