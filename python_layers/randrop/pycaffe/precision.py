"""In which precision the CPU engine multiplies."""

import os
from collections.abc import Mapping

from randrop.errors import UserError

ENGINE = "RANDROP_ENGINE"
BFLOAT16 = "ONEDNN_BF16"


def use_bfloat16(gpu: bool) -> None:
    """Let the programs that this one starts multiply in bfloat16.

    Parameters
    ----------
    gpu : bool
        Whether they compute on the GPU.

    Raises
    ------
    UserError
        If they use another engine.
    """
    if gpu:
        raise UserError("--bf16 is for the CPU: omit it, or omit --gpu")
    if os.environ.get(ENGINE) not in (None, "", "ONEDNN", BFLOAT16):
        raise UserError(
            f"--bf16 needs the engine with oneDNN, but {ENGINE} is "
            f"{os.environ[ENGINE]}: unset it, or omit --bf16"
        )
    os.environ[ENGINE] = BFLOAT16


def in_float(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment of programs that multiply in float."""
    floats = environment.get(ENGINE) == BFLOAT16
    return {**environment, ENGINE: "ONEDNN"} if floats else dict(environment)
