#!/usr/bin/env bash
# Runs everything that is tested, and builds what it needs first: the tests of our
# layers inside the patched Caffe, Caffe's own tests of what the patch touches, and
# the Python tests.
set -euo pipefail
cd "$(dirname "$0")/.."
export RANDROP_BUILD="${RANDROP_BUILD:-$PWD/build}"

usage() {
  cat <<'EOF'
usage: bash scripts/test.sh [--fast] [--gpu] [--help]
       bash scripts/test.sh --sanitize

  --fast   leave out the slow tests (trainings end to end, second builds of Caffe) and
           the comparison with PyTorch, MONAI, nnU-Net and PyMIC, which are downloaded
           for it alone
  --gpu    test the CUDA build
  --sanitize
           instead of all that: our layers' tests, Caffe's own over oneDNN, and random
           nets on both engines in a build with gcc's checks of addresses and undefined
           behaviour (20 minutes for the build, 5 for the tests, on 2 cores)

Builds Caffe with its test program if that is not done (some 6 minutes on 2 cores),
then runs the layers' tests (gtest), the style check (ruff) and the Python tests
(pytest).
EOF
}

marks=()
gpu=()
sanitize=""
for argument in "$@"; do
  case "$argument" in
    --fast) marks=(-m "not slow") ;;
    --gpu) gpu=(--gpu) ;;
    --sanitize) sanitize=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

# shellcheck source=scripts/need_python.sh
. scripts/need_python.sh
if [ "$sanitize" ]; then
  exec bash scripts/sanitize.sh
fi
python3 scripts/build_caffe.py "${gpu[@]}"

# All of Caffe's test program, whose nets are made of the CPU engine's layers; with
# --fast our own tests, and Caffe's of the files that patch and mends touch.
tests="*RandomDrop*:Philox*:*Parallel*:Pieces*:PixelLoss*:TopKLoss*:FocalLoss*:DiceLoss*:ExpLog*"
tests+=":PixelKernels*:ShareOf*"
tests+=":SigmoidCrossEntropyLoss*:NetTest*:IOTest*:HDF5*:ProtoTest*:LayerFactoryTest*"
tests+=":PlatformTest*:CommonTest*:SolverTest*:SGDSolverTest*:SyncedMem*:BlobSimple*"
if [ ${#marks[@]} = 0 ]; then
  tests="*"
fi
if ! nvidia-smi -L > /dev/null 2>&1; then
  tests+=":-*GPU*"
fi
# Threads that wait by turning round for long are in the way of other programs.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
echo "==> Tests inside Caffe"
(cd "$RANDROP_BUILD/caffe" && GLOG_minloglevel=2 \
  build/test/test.testbin --gtest_filter="$tests" 2>&1 | grep -v "Death tests use fork")

if [ -e "$RANDROP_BUILD/caffe/build/test/test_engine.testbin" ]; then
  echo "==> Caffe's own layer tests, over oneDNN"
  # The blobs are of a few numbers, which many threads would only pass around.
  (cd "$RANDROP_BUILD/caffe" && GLOG_minloglevel=2 OMP_NUM_THREADS=2 \
    build/test/test_engine.testbin --gtest_filter="-*GPU*" 2>&1 | tail -n 3)
fi

echo "==> Style"
python="$RANDROP_BUILD/venv/bin/python"
"$python" -m ruff check .
"$python" -m ruff format --check .

if [ ${#marks[@]} = 0 ]; then
  # Without them, their tests are skipped, and pytest says so.
  python3 scripts/build_caffe.py --judges ||
    echo "warning: without these packages the tests against them are skipped" >&2
fi

echo "==> Python tests"
"$python" -m pytest "${marks[@]}"
