"""In which precision the CPU engine multiplies."""

import os
from collections.abc import Mapping

from randrop.errors import UserError

ENGINE = "RANDROP_ENGINE"
BFLOAT16 = "ONEDNN_BF16"
ENGINES = ("ONEDNN", BFLOAT16, "CAFFE")


def in_bfloat16(asked: bool, gpu: bool) -> bool:
    """Return whether a training multiplies in bfloat16, if the processor can.

    Parameters
    ----------
    asked : bool
        Whether its arguments say so; the environment may, too.
    gpu : bool
        Whether it computes on the GPU, where the environment's engine has no effect.
    """
    return asked or (not gpu and os.environ.get(ENGINE) == BFLOAT16)


def choose(bfloat16: bool, gpu: bool) -> None:
    """Check the engine, and let the programs that this one starts use bfloat16.

    Parameters
    ----------
    bfloat16 : bool
        Whether they shall multiply in bfloat16.
    gpu : bool
        Whether they compute on the GPU.

    Raises
    ------
    UserError
        If there is no such engine, or they use another.
    """
    engine = os.environ.get(ENGINE)
    if engine and engine not in ENGINES:
        raise UserError(
            f"{ENGINE} is {engine!r}: set it to one of {', '.join(ENGINES)}, or unset "
            "it"
        )
    if not bfloat16:
        return
    if gpu:
        raise UserError("--bf16 is for the CPU: omit it, or omit --gpu")
    if engine and engine != BFLOAT16:
        raise UserError(
            f"--bf16 means {ENGINE}={BFLOAT16}, but {ENGINE} is {engine}: unset it, or "
            "omit --bf16"
        )
    os.environ[ENGINE] = BFLOAT16


def in_float(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment of programs that multiply in float."""
    floats = environment.get(ENGINE) == BFLOAT16
    return {**environment, ENGINE: "ONEDNN"} if floats else dict(environment)
