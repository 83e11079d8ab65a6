#!/usr/bin/env bash
# Builds what the tests need and runs all of them: the tests of our layers inside the
# patched Caffe, Caffe's own tests of the code that the patch touches, and the Python
# tests.
set -euo pipefail
# shellcheck source=scripts/from_here.sh
. "$(dirname -- "$0")/from_here.sh"
export RANDROP_BUILD="${RANDROP_BUILD:-$PWD/build}"

usage() {
  cat <<'EOF'
usage: bash scripts/test.sh [--fast | --thorough] [--gpu [--compute-sanitizer]] [--help]
       bash scripts/test.sh --sanitize
       bash scripts/test.sh --gpu-build
       bash scripts/test.sh --slurm
       bash scripts/test.sh --faults [--seconds N] [--seed S]
       bash scripts/test.sh --fuzz N [--seed S]
       bash scripts/test.sh --nightly [--seed S]

  --fast   skip the slow tests (end-to-end trainings, second builds of Caffe) and the
           comparison with PyTorch, MONAI, nnU-Net and PyMIC, which needs a download
  --thorough
           more cases of what takes long: the vector kernels by other compilers and on ARM,
           more random nets, kills and files to overwrite
  --gpu    test the CUDA build, on a GPU; not yet run on one
  --compute-sanitizer
           with --gpu: also run our layers' tests under NVIDIA's compute-sanitizer
           (memcheck, racecheck, initcheck and synccheck; downloaded from PyPI)

These options replace the tests above:
  --sanitize
           run our layers' tests, Caffe's own over oneDNN, and random nets on both
           engines, in a build with gcc's AddressSanitizer and UBSan, and the losses'
           tests under its ThreadSanitizer (30 minutes for the builds, 7 for the tests,
           on 2 cores)
  --slurm
           sweeps and comparisons as jobs of a real Slurm of one node, which the tests
           start: kills, requeues, time limits (7 minutes). It takes root, and
           apt-get install slurmctld slurmd slurm-client munge
  --faults
           for N seconds (300): kill scripts at random times, fill their disk, make it
           read-only, damage the files they read (tests/faults.py), and then as long:
           kill the patch tool on trees of many kinds (tests/patch_faults.py)
  --fuzz N
           N random loss layers and files, and N/10 random nets (tests/fuzz.py,
           tests/engine_nets.py)
  --nightly
           faults of both kinds, fuzz and nets, 20 minutes each
  --seed S
           seed of the first case (1; with --nightly the date). Each failing case prints
           the command that repeats it; docs/tried.md counts all cases
  --gpu-build
           build Caffe and its tests for a GPU in build/gpu-build, with nvcc, cuDNN and
           NCCL of PyPI, and check what they are linked to (tests/gpu_build.py); needs
           no GPU and no CUDA (25 minutes of one core)

Builds Caffe with its test program if necessary (6 minutes on 2 cores). Then it runs the
layers' tests (gtest), the CUDA code emulated on the CPU (tests/cuda_on_cpu/run.py,
which has its own options), the style check (ruff) and the Python tests (pytest).
EOF
}

marks=
thorough=
gpu=()
sanitize=""
sanitizer=
gpu_build=
slurm=
try=
number=
seed=
seconds=
# The option that replaces the tests, and those that belong to other options.
mode=
replace_tests() {
  if [ -n "$mode" ] && [ "$mode" != "$1" ]; then
    echo "error: $mode and $1 exclude each other: give one of them" >&2
    exit 2
  fi
  mode="$1"
}
while [ $# != 0 ]; do
  case "$1" in
    --fast) marks="and not slow" ;;
    --thorough) thorough=yes ;;
    --gpu) gpu=(--gpu) ;;
    --sanitize) replace_tests "$1"; sanitize=yes ;;
    --compute-sanitizer) sanitizer=1 ;;
    --gpu-build) replace_tests "$1"; gpu_build=1 ;;
    --slurm) replace_tests "$1"; slurm=1 ;;
    --faults | --nightly) replace_tests "$1"; try="$1" ;;
    --fuzz | --seconds | --seed)
      if ! [[ "${2:-}" =~ ^[0-9]+$ ]]; then
        echo "error: $1 needs a whole number, as in '$1 100'" >&2
        exit 2
      fi
      case "$1" in
        --fuzz) replace_tests "$1"; try="$1" number="$2" ;;
        --seconds) seconds="$2" ;;
        --seed) seed="$2" ;;
      esac
      shift
      ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

if [ -n "$mode" ] && [ -n "$marks$thorough${gpu[*]}$sanitizer" ]; then
  echo "error: $mode replaces the tests that --fast, --thorough, --gpu and" \
    "--compute-sanitizer are about" >&2
  exit 2
fi
if [ -n "$marks" ] && [ -n "$thorough" ]; then
  echo "error: --fast and --thorough exclude each other: give one of them" >&2
  exit 2
fi
if [ -n "$seed" ] && [ -z "$try" ]; then
  echo "error: --seed needs --faults, --fuzz or --nightly" >&2
  exit 2
fi
if [ -n "$seconds" ] && [ "$try" != --faults ]; then
  echo "error: --seconds needs --faults" >&2
  exit 2
fi
if [ -n "$sanitizer" ] && [ ${#gpu[@]} = 0 ]; then
  echo "error: --compute-sanitizer needs --gpu" >&2
  exit 2
fi
if [ ${#gpu[@]} != 0 ] && ! nvidia-smi -L > /dev/null 2>&1; then
  echo "error: --gpu needs an NVIDIA GPU and its driver, and nvidia-smi finds none." \
    "Omit --gpu to test CUDA emulated on the CPU, or compile with --gpu-build" >&2
  exit 2
fi

# shellcheck source=scripts/need_python.sh
. scripts/need_python.sh
if [ -n "$slurm" ]; then
  python3 tests/slurm_programs.py || exit 2
fi
if [ "$sanitize" ]; then
  exec bash scripts/sanitize.sh
fi
if [ -n "$try" ]; then
  python3 scripts/build_caffe.py
  run=("$RANDROP_BUILD/venv/bin/python")
  tried=(--tried results/tried.json)
  case "$try" in
    --faults)
      failed=0
      for program in faults patch_faults; do
        "${run[@]}" "tests/$program.py" --seed "${seed:-1}" --count 1000000 \
          --seconds "${seconds:-300}" "${tried[@]}" || failed=1
      done
      exit "$failed"
      ;;
    --fuzz)
      exec "${run[@]}" tests/fuzz.py --seed "${seed:-1}" --count "$number" \
        --nets "$((10#$number / 10))" "${tried[@]}"
      ;;
    --nightly)
      failed=0
      # Each night uses other seeds.
      seed="${seed:-$(date +%y%m%d)0000}"
      for program in faults patch_faults fuzz engine_nets; do
        "${run[@]}" "tests/$program.py" --seed "$seed" --count 1000000 \
          --seconds 1200 "${tried[@]}" || failed=1
      done
      exit "$failed"
      ;;
  esac
fi
if [ -n "$gpu_build" ]; then
  # A separate build, so that the CPU build stays.
  python3 scripts/build_caffe.py --venv-only
  "$RANDROP_BUILD/venv/bin/python" tests/gpu_build.py
  exit
fi
python3 scripts/build_caffe.py "${gpu[@]}"
if [ -n "$slurm" ]; then
  # What is skipped elsewhere is what was asked for here.
  RANDROP_TEST_SLURM=1 exec "$RANDROP_BUILD/venv/bin/python" -m pytest tests/test_slurm.py \
    tests/test_docs.py::test_on_a_cluster
fi

if [ -z "$marks" ]; then
  # Mostly a download, which goes on beside the next tests.
  python3 scripts/build_caffe.py --judges > "$RANDROP_BUILD/judges.log" 2>&1 &
  judges=$!
  trap 'kill "$judges" 2> /dev/null || true' EXIT
fi

# All of Caffe's test program, whose nets use the CPU engine's layers; with --fast, our
# own tests, and Caffe's tests of the files that the patch and the mends touch.
tests="*Randrop*:SigmoidCrossEntropyLoss*:NetTest*:IOTest*:HDF5*:ProtoTest*:LayerFactoryTest*"
tests+=":PlatformTest*:CommonTest*:SolverTest*:SGDSolverTest*:SyncedMem*:BlobSimple*"
if [ -z "$marks" ]; then
  tests="*"
fi
if ! nvidia-smi -L > /dev/null 2>&1; then
  tests+=":-*GPU*"
fi
# Busy-waiting threads get in the way of other programs.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-10000}"
echo "==> Tests inside Caffe"
(cd "$RANDROP_BUILD/caffe" && GLOG_minloglevel=2 \
  python3 "$OLDPWD/tests/gtest_shards.py" build/test/test.testbin --filter "$tests")

if [ -e "$RANDROP_BUILD/caffe/build/test/test_engine.testbin" ]; then
  echo "==> Caffe's own layer tests, over oneDNN"
  # The blobs hold few numbers, so more threads would only add overhead.
  (cd "$RANDROP_BUILD/caffe" && GLOG_minloglevel=2 OMP_NUM_THREADS=2 \
    python3 "$OLDPWD/tests/gtest_shards.py" build/test/test_engine.testbin \
    --filter="-*GPU*" --processes 1)
fi

echo "==> The CUDA code of the layers, emulated on the CPU"
"$RANDROP_BUILD/venv/bin/python" tests/cuda_on_cpu/run.py

if [ -n "$sanitizer" ]; then
  echo "==> Our layers' tests under compute-sanitizer"
  "$RANDROP_BUILD/venv/bin/python" tests/on_gpu.py \
    --stages memcheck racecheck initcheck synccheck --processes 4
fi

echo "==> Style"
python="$RANDROP_BUILD/venv/bin/python"
"$python" -m ruff check .
"$python" -m ruff format --check .

if [ -z "$marks" ]; then
  # Without these packages, pytest skips their tests and says so.
  if ! wait "$judges"; then
    cat "$RANDROP_BUILD/judges.log" >&2
    echo "warning: the tests that need these packages will be skipped" >&2
  fi
  trap - EXIT
fi

echo "==> Python tests"
# Two at a time, because most of them wait for one thread of another program. The tests of
# a file stay together: they share what they prepare.
if [ -z "$thorough" ]; then
  marks+=" and not thorough"
fi
"$python" -m pytest -m "not builds and not cluster $marks" -n 2 --dist loadfile
"$python" -m pytest -m "builds and not cluster $marks"
if [ ${#gpu[@]} != 0 ]; then
  "$python" -m pytest --gpu tests/test_layers.py tests/test_layers_random_drop.py \
    tests/test_nonfinite.py tests/test_large_logits.py
fi
