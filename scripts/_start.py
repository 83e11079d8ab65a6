"""The scripts import this first: it finds the package, and a Python that can run it."""

import importlib.util
import os
import sys
from pathlib import Path

import _wanted

_repository = Path(__file__).resolve().parents[1]
_build = Path(os.environ.get("RANDROP_BUILD") or _repository / "build")
_python = _build / "venv" / "bin" / "python"

sys.path.insert(0, str(_repository / "python_layers"))
if _wanted.is_old() or any(
    importlib.util.find_spec(name) is None for name in ("cv2", "tqdm", "pydantic")
):
    if _python.exists() and Path(sys.prefix).resolve() != _python.parents[1].resolve():
        os.execv(str(_python), [str(_python), *sys.argv])
    _wanted.check()
    sys.exit(
        "error: the Python packages of pyproject.toml are missing: "
        "'python3 scripts/build_caffe.py --venv-only' installs them into build/venv"
    )
_wanted.keep_description()
