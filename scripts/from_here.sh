# Sourced by the shell scripts: goes to the repository, and takes relative paths, of the
# command line and the environment, from the folder in which the user stands.
here="$PWD"
CDPATH="" cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

from_here() {
  case "$1" in
    "" | /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$here/$1" ;;
  esac
}

for name in RANDROP_BUILD CAFFE_ROOT CUDA_HOME CUDNN_ROOT NCCL_DIR; do
  if [ -n "${!name:-}" ]; then
    path="$(from_here "${!name}")"
    export "$name=$path"
  fi
done
unset name path
