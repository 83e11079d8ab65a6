#!/usr/bin/env bash
# Builds only the vector kernels and their tests, without Caffe's library, with GCC's
# UBSan (and ASan), and runs them: in a minute, on any machine.
set -euo pipefail
cd "$(dirname "$0")/.."
build="${RANDROP_BUILD:-$PWD/build}"
gtest="$build/caffe/src"

usage() {
  cat <<'EOT'
usage: bash scripts/check_kernels.sh [--help]

Compiles the vector kernels of the losses with -fsanitize=undefined,float-cast-overflow
and ASan, and runs their tests: any logits and labels, and ranges between whose elements
nothing may be written. It takes gtest from the Caffe tree that scripts/build_caffe.py
leaves in build/caffe (or $RANDROP_BUILD/caffe).
EOT
}

case "${1:-}" in
  "") ;;
  --help | -h) usage; exit 0 ;;
  *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
esac
if [ ! -e "$gtest/gtest/gtest-all.cpp" ]; then
  echo "error: $gtest/gtest is not there: run python3 scripts/build_caffe.py first" >&2
  exit 1
fi

out="$build/kernels"
mkdir -p "$out"
flags=(-std=gnu++14 -O1 -g -w -fno-omit-frame-pointer -fno-sanitize-recover=all)
flags+=(-fsanitize=address,undefined,float-cast-overflow -Icaffe_layers/include "-I$gtest")
sources=(caffe_layers/src/caffe/randrop/simd/kernels_{plain,avx2,avx512}.cpp)
sources+=(caffe_layers/src/caffe/test/test_pixel_kernels.cpp)
sources+=("$gtest/gtest/gtest-all.cpp" "$gtest/gtest/gtest_main.cc")
objects=()
for source in "${sources[@]}"; do
  object="$out/$(basename "${source%.*}").o"
  echo "==> $source"
  ${CMAKE_CXX_COMPILER_LAUNCHER:-} g++ "${flags[@]}" -c "$source" -o "$object"
  objects+=("$object")
done
g++ "${flags[@]}" "${objects[@]}" -lpthread -o "$out/test_kernels"
"$out/test_kernels"
