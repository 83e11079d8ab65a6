#!/usr/bin/env bash
# Runs our layers' tests, Caffe's own tests over oneDNN and random nets, in a build with
# gcc's AddressSanitizer and UBSan, and the losses' tests with its ThreadSanitizer;
# scripts/test.sh --sanitize calls it.
set -euo pipefail
# shellcheck source=scripts/from_here.sh
. "$(dirname -- "$0")/from_here.sh"
export RANDROP_BUILD="${RANDROP_BUILD:-$PWD/build}"
python3 scripts/build_caffe.py --sanitize
export CAFFE_ROOT="$RANDROP_BUILD/caffe-sanitized"
# Caffe and Python do not free all memory before the process ends; that is no fault.
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
export GLOG_minloglevel=2 OMP_NUM_THREADS=2

# Runs a test program, shows the end of its output, and adds it to results/tried.json.
gtests() {
  local what="$1" log="$RANDROP_BUILD/logs/sanitize.txt" status=0 begun ok
  shift
  mkdir -p "$(dirname "$log")"
  SECONDS=0
  (cd "$CAFFE_ROOT" && "$@") > "$log" 2>&1 || status=$?
  tail -n 3 "$log"
  begun="$(grep -c '^\[ RUN ' "$log" || true)"
  ok="$(grep -c '^\[       OK \]' "$log" || true)"
  "$RANDROP_BUILD/venv/bin/python" tests/tried.py --add --what "sanitizers: $what" \
    --cases "$begun" --faults "$((begun - ok))" --seconds "$SECONDS"
  if [ "$status" != 0 ]; then
    grep -n "runtime error\|: \(Address\|Thread\)Sanitizer\|FAILED" "$log" >&2 || true
    echo "error: see $log" >&2
    exit 1
  fi
}

echo "==> Layer tests inside Caffe, with AddressSanitizer and UBSan"
tests="*Randrop*:SyncedMem*:BlobSimple*:NetTest*:-*GPU*"
gtests "our layers' tests" build/test/test.testbin --gtest_filter="$tests"

echo "==> The vector kernels"
gtests "the vector kernels" bash "$PWD/scripts/check_kernels.sh"

echo "==> The losses on four threads, races checked"
gtests "the losses on four threads" bash "$PWD/scripts/check_threads.sh"

if [ -e "$CAFFE_ROOT/build/test/test_engine.testbin" ]; then
  echo "==> Caffe's own layer tests, over oneDNN"
  gtests "Caffe's tests over oneDNN" build/test/test_engine.testbin --gtest_filter="-*GPU*"
fi

echo "==> The CUDA code of the layers, emulated on the CPU"
"$RANDROP_BUILD/venv/bin/python" tests/cuda_on_cpu/run.py --sanitize

echo "==> Random nets on both engines"
# Python is built without the checks, so preload their library, which allocates, and
# the C++ library, because the checks look for C++ exceptions when they start.
random_nets() {
  LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
    "$RANDROP_BUILD/venv/bin/python" tests/engine_nets.py --quiet \
    --tried results/tried.json "$@"
}
random_nets --named
random_nets --seed "${SEED:-1}" --count "${COUNT:-60}"
