#!/usr/bin/env bash
# Our layers' tests, Caffe's own over oneDNN and random nets, in a build with gcc's
# AddressSanitizer and UBSan; scripts/test.sh --sanitize calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
export RANDROP_BUILD="${RANDROP_BUILD:-$PWD/build}"
python3 scripts/build_caffe.py --sanitize
export CAFFE_ROOT="$RANDROP_BUILD/caffe-sanitized"
# Caffe and Python leave memory to the end of the process, which is no fault.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
export GLOG_minloglevel=2 OMP_NUM_THREADS=2

echo "==> Layer tests inside Caffe, addresses and undefined behaviour checked"
tests="*RandomDrop*:Philox*:*Parallel*:Pieces*:PixelLoss*:TopKLoss*:FocalLoss*:DiceLoss*"
tests+=":ExpLog*:SyncedMem*:BlobSimple*:NetTest*:-*GPU*"
(cd "$CAFFE_ROOT" && build/test/test.testbin --gtest_filter="$tests" 2>&1 | tail -n 3)

if [ -e "$CAFFE_ROOT/build/test/test_engine.testbin" ]; then
  echo "==> Caffe's own layer tests, over oneDNN"
  (cd "$CAFFE_ROOT" && build/test/test_engine.testbin --gtest_filter="-*GPU*" 2>&1 |
    tail -n 3)
fi

echo "==> Random nets on both engines"
# Python knows nothing of the checks: their library comes first, and allocates; and it
# looks for C++'s exceptions when it starts.
random_nets() {
  LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
    "$RANDROP_BUILD/venv/bin/python" tests/engine_nets.py --quiet "$@"
}
random_nets --named
random_nets --seed "${SEED:-1}" --count "${COUNT:-60}"
