#!/usr/bin/env bash
# From a bare machine to a trained lesion network and its report.
set -euo pipefail
# shellcheck source=scripts/from_here.sh
. "$(dirname -- "$0")/from_here.sh"
export RANDROP_BUILD="${RANDROP_BUILD:-$PWD/build}"

usage() {
  cat <<'EOF'
usage: bash scripts/quickstart.sh [--data DIR] [--caffe-root DIR] [--gpu] [--help]

Installs missing packages, builds a patched Caffe, draws a phantom data set (synthetic
fundus photographs with lesions), trains a small U-Net on it with `caffe train` and the
random drop loss, and writes build/quickstart/report.html.

  --data DIR  train on these photographs instead: IDRiD as distributed, or
              images/ and masks/{MA,HE,...}/
  --caffe-root DIR  copy this Caffe tree instead of fetching one
  --gpu       build Caffe with CUDA and train on the GPU

A second run skips finished steps. Run it as root or with sudo, on Debian 12 or newer or
Ubuntu 22.04 or newer. Caffe's source is Debian's; where apt knows no Debian archive, as
on Ubuntu, it is BVLC's own tree from PyPI.
EOF
}

data="$RANDROP_BUILD/phantom"
phantom=yes
caffe=()
gpu=()
while [ $# -gt 0 ]; do
  case "$1" in
    --data)
      if [ $# -lt 2 ]; then echo "error: --data needs a folder" >&2; exit 2; fi
      data="$(from_here "$2")"; phantom=; shift 2 ;;
    --caffe-root)
      if [ $# -lt 2 ]; then echo "error: --caffe-root needs a folder" >&2; exit 2; fi
      caffe=(--caffe-root "$(from_here "$2")"); shift 2 ;;
    --gpu) gpu=(--gpu); shift ;;
    --help | -h) usage; exit 0 ;;
    *) echo "error: unknown argument '$1'" >&2; usage >&2; exit 2 ;;
  esac
done
if [ -z "$phantom" ] && [ ! -d "$data" ]; then
  echo "error: --data $data is not a folder" >&2
  exit 2
fi
if [ ${#caffe[@]} != 0 ] && [ ! -d "${caffe[1]}" ]; then
  echo "error: --caffe-root ${caffe[1]} is not a folder" >&2
  exit 2
fi

step() { echo; echo "==> $*"; }

# shellcheck source=scripts/need_python.sh
. scripts/need_python.sh

step "1/6 Caffe: packages, source, patch, build (about 8 minutes on 2 cores, once)"
python3 scripts/build_caffe.py --no-tests "${caffe[@]}" "${gpu[@]}"
python="$RANDROP_BUILD/venv/bin/python"

out="$RANDROP_BUILD/quickstart"
settings=(--lesions MA HE)
if [ -n "$phantom" ]; then
  step "2/6 Data: synthetic fundus photographs with lesions (10 seconds)"
  "$python" scripts/make_phantom.py "$data" --images 32 --size 512 --seed 0
  # Small enough for a minute or two on two cores.
  settings+=(--iterations 1200 --patch 128 --batch 4 --base-channels 8 --depth 3)
  settings+=(--test-interval 200 --test-iterations 8 --snapshot 100)
else
  step "2/6 Data: $data"
  out="$RANDROP_BUILD/quickstart-data"
  settings+=(--snapshot 400)
fi

step "3/6 Training: caffe train with the random drop loss (1 to 2 minutes on 2 cores)"
resume=()
if compgen -G "$out/run/snapshots/*.solverstate" > /dev/null &&
    [ ! -e "$out/run/final.caffemodel" ]; then
  resume=(--resume)
fi
"$python" scripts/train.py --data "$data" "${settings[@]}" --loss random-drop \
  --watch-mask --out "$out/run" "${gpu[@]}" "${resume[@]}"

step "4/6 Prediction: the validation photographs at full resolution (10 seconds)"
"$python" scripts/predict.py --run "$out/run" --data "$data" --subset validation \
  --out "$out/prediction" "${gpu[@]}"

step "5/6 Loss maps of some photographs through the training (40 seconds)"
"$python" scripts/surface.py record --run "$out/run" --data "$data"
"$python" scripts/surface.py view "$out/run/surface/recording.h5"

step "6/6 Evaluation and report (10 seconds)"
"$python" scripts/evaluate.py --run "$out/run" --data "$data" --subset validation \
  --probabilities "$out/prediction" --out "$out"

cat <<EOF

Done. Results:
  $out/report.html          the report, one page
  $out/run/surface/viewer.html
                            the loss of each pixel, with a slider through the training
  $out/run/curves.png       the training and validation loss
  $out/run/kept.png         the share of negatives that random drop kept
Next, use your own photographs:
  bash scripts/quickstart.sh --data DIR
  $python scripts/train.py --help
EOF
