# Sourced by quickstart.sh and test.sh: on a machine without Python 3, installs it.
# Everything else that is missing is installed by build_caffe.py.
if ! command -v python3 > /dev/null; then
  sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  echo "==> Installing python3 (10 s)"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends python3 > /dev/null
fi
