# Sourced by quickstart.sh and test.sh: installs Python 3 if it is missing, and says so if
# it is too old. build_caffe.py installs everything else that is missing.
if ! command -v python3 > /dev/null; then
  sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  echo "==> Installing python3 (10 s)"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends python3 > /dev/null
fi
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
  echo "error: this system's $(python3 -V 2>&1) is too old: the scripts need 3.10 or" \
    "newer, and pycaffe the system's own. Use Debian 12, Ubuntu 22.04 or newer. Here," \
    "add the layers to a Caffe of yours by hand, which needs no Python:" \
    "docs/how-to/patch-by-hand.md" >&2
  exit 2
fi
