#!/usr/bin/env bash
# Builds only the vector kernels and their tests, without Caffe's library, and runs them:
# in a minute, on any machine, by any compiler.
set -euo pipefail
# shellcheck source=scripts/from_here.sh
. "$(dirname -- "$0")/from_here.sh"
build="${RANDROP_BUILD:-$PWD/build}"
gtest="${CAFFE_ROOT:-$build/caffe}/src"

usage() {
  cat <<'EOT'
usage: bash scripts/check_kernels.sh [--compiler CXX | --arm] [--plain] [--help]

Compiles the vector kernels of the losses with -fsanitize=undefined,float-cast-overflow
and AddressSanitizer, and runs their tests: arbitrary logits and labels, and ranges
outside which nothing may be written. Then it checks that the linker cannot mix functions
for different instruction sets. It uses gtest from the Caffe tree of
scripts/build_caffe.py in build/caffe (or $CAFFE_ROOT).

  --compiler CXX  use another compiler than g++, such as clang++
  --plain         compile without sanitizers, in a fraction of the time
  --arm           compile for 64-bit ARM (NEON), without sanitizers, and run the tests in
                  QEMU. On Debian and Ubuntu install both with
                  apt-get install g++-aarch64-linux-gnu qemu-user
EOT
}

compiler=g++
flags=(-O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all)
flags+=(-fsanitize=address,undefined,float-cast-overflow)
link=()
run=()
nm=nm
while [ $# != 0 ]; do
  case "$1" in
    --compiler)
      if [ -z "${2:-}" ]; then
        echo "error: --compiler needs the name of a compiler, as in '--compiler clang++'" >&2
        exit 2
      fi
      case "$2" in
        */*) compiler="$(from_here "$2")" ;;
        *) compiler="$2" ;;
      esac
      shift
      ;;
    --arm)
      compiler=aarch64-linux-gnu-g++
      nm=aarch64-linux-gnu-nm
      flags=(-O2)
      link=(-static)
      run=(qemu-aarch64)
      ;;
    --plain) flags=(-O1) ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
for program in "$compiler" "${run[@]}"; do
  if ! command -v "$program" > /dev/null; then
    echo "error: $program is not installed; bash scripts/check_kernels.sh --help names" \
      "the packages" >&2
    exit 1
  fi
done
if [ ! -e "$gtest/gtest/gtest-all.cpp" ]; then
  echo "error: $gtest/gtest does not exist: run python3 scripts/build_caffe.py first" >&2
  exit 1
fi

out="$build/kernels/$(basename "$compiler")"
mkdir -p "$out"
flags+=(-std=gnu++14 -w -Icaffe_layers/include "-I$gtest")
kernels=(caffe_layers/src/caffe/randrop/simd/kernels_{plain,avx2,avx512}.cpp)
sources=("${kernels[@]}" caffe_layers/src/caffe/test/test_pixel_kernels.cpp)
sources+=("$gtest/gtest/gtest-all.cpp" "$gtest/gtest/gtest_main.cc")
objects=()
for source in "${sources[@]}"; do
  object="$out/$(basename "${source%.*}").o"
  echo "==> $source"
  ${CMAKE_CXX_COMPILER_LAUNCHER:-} "$compiler" "${flags[@]}" -c "$source" -o "$object"
  objects+=("$object")
done
"$compiler" "${flags[@]}" "${objects[@]}" "${link[@]}" -lpthread -o "$out/test_kernels"
"${run[@]}" "$out/test_kernels"

# The linker keeps one copy of a function that several files define. It may be the one
# for AVX-512. A vector in its type, which no other set has, keeps it apart.
shared="$("$nm" -C --defined-only "$out"/kernels_avx*.o | grep ' [WVu] .*caffe::' |
  grep -v '__vector(\|typeinfo' || true)"
if [ -n "$shared" ]; then
  echo "error: the linker may use these on processors without AVX; mark them" \
    "RANDROP_HOST_DEVICE, or put them in an unnamed namespace:" >&2
  echo "$shared" >&2
  exit 1
fi
echo "No function for one instruction set can be linked into code for another."
