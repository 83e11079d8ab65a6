#!/usr/bin/env bash
# Builds only the losses, their thread pool and their tests, with GCC's ThreadSanitizer,
# and runs them on four threads.
set -euo pipefail
# shellcheck source=scripts/from_here.sh
. "$(dirname -- "$0")/from_here.sh"
build="${RANDROP_BUILD:-$PWD/build}"
caffe="${CAFFE_ROOT:-$build/caffe}"

usage() {
  cat <<'EOT'
usage: bash scripts/check_threads.sh [--help]

Compiles the losses and the thread pool that runs their loops with -fsanitize=thread
(some minutes the first time), and runs their tests on four threads: what two threads
use without waiting for each other is found. OpenMP is left out, because its library's
waits are not seen; of our code, only the layers over oneDNN use it. What is needed of
Caffe comes from the tree that scripts/build_caffe.py leaves in build/caffe (or
$CAFFE_ROOT).
EOT
}

case "${1:-}" in
  "") ;;
  --help | -h) usage; exit 0 ;;
  *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
esac
if [ ! -e "$caffe/build/include/caffe/proto/caffe.pb.cc" ]; then
  echo "error: $caffe is not built: run python3 scripts/build_caffe.py first" >&2
  exit 1
fi

out="$build/on_threads"
cmake -S tests/on_threads -B "$out" -G "Unix Makefiles" -DCAFFE_ROOT="$caffe"
make -C "$out" -j"$(nproc)"
# OpenBLAS is built without the checks. Left out are the tests that use one thread:
# gradients by differences, messages, kernels.
export OMP_NUM_THREADS=4 OPENBLAS_NUM_THREADS=1 GLOG_minloglevel=2
# One test forks, and its child starts threads.
export TSAN_OPTIONS="halt_on_error=1:die_after_fork=0:${TSAN_OPTIONS:-}"
left_out="*GPU*:*TestGradient*:*AreNamed:*BadInputStops:*BadOptions*:*PixelKernels*"
"$out/test_on_threads" --gtest_filter="*Randrop*:-$left_out"
