# Sourced by quickstart.sh and test.sh: installs Python 3 if it is missing.
# build_caffe.py installs everything else that is missing.
if ! command -v python3 > /dev/null; then
  sudo=()
  if [ "$(id -u)" != 0 ]; then sudo=(sudo); fi
  echo "==> Installing python3 (10 s)"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends python3 > /dev/null
fi
