"""The measured figures of README and docs in Markdown, one function per table or list.

A function takes the content of one file of results/ or models/. Lists replace figures
in prose, so that no sentence outlives its measurement.
"""

from collections.abc import Callable, Mapping
from typing import Any

from figures import (
    builds,
    bundles,
    comparisons,
    confidence,
    elsewhere,
    gpu_build,
    large_sets,
    loss_speed,
    network_speed,
    protocols,
    ranks,
)
from randrop.report import model_card, protocol_tables


def quickstart(content: Mapping[str, Any]) -> str:
    """Return the results of the quickstart's network."""
    found = content["lesions"]["MA"]
    return (
        f"Microaneurysms are {100 * found['prevalence']:.2f} % of the phantom's "
        "pixels; the network finds them with an average precision of "
        f"{found['average_precision']:.2f}."
    )


def cuda_faults(content: Mapping[str, Any]) -> str:
    """Return how many kernel faults the emulated tests catch."""
    return f"The tests catch {content['caught']} of {content['faults']} such faults."


_IDRID = "results/idrid_losses.json"
_TRAINING = "results/bench_training.json"
_ROUNDED = "results/bench_bf16.json"
_PROTOCOL = "results/lesion_losses.json"
_WHY = "results/lesion_why.json"
_OPTIONS = "results/option_gains.json"
_INFERENCE = "results/bench_inference.json"
_LOSSES = "results/bench_losses.json"
_LOADED = "results/bench_loaded.json"
_DISCS = "results/discs.json"
_BUILDS = "results/builds.json"
_LESIONS = "results/lesion_confidence.json"
_RANKS = "results/bench_ranks.json"
_ONNX = "results/onnx_differences.json"
_LARGE = "results/large_set.json"

TABLES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "quickstart": ("results/quickstart_metrics.json", quickstart),
    "idrid-losses": (_IDRID, comparisons.idrid_losses),
    "idrid-verdict": (_IDRID, comparisons.idrid_verdict),
    "protocol-verdict": (_PROTOCOL, protocols.verdict),
    "protocol-precision": (_PROTOCOL, protocol_tables.precisions),
    "protocol-false-pixels": (_PROTOCOL, protocol_tables.confusions),
    "protocol-growth": (_PROTOCOL, protocol_tables.growths),
    "protocol-calibration": (_PROTOCOL, protocol_tables.calibrations),
    "protocol-rates": (_PROTOCOL, protocols.rates),
    "option-precision": (_OPTIONS, protocol_tables.precisions),
    "option-open": (_OPTIONS, protocols.still_open),
    "why-precision": (_WHY, protocol_tables.precisions),
    "why-false-pixels": (_WHY, protocol_tables.confusions),
    "idrid-model": (
        "models/idrid/metrics.json",
        lambda content: model_card.measured_table(content["lesions"]),
    ),
    "idrid-small-model": (
        "models/idrid-small/metrics.json",
        lambda content: model_card.measured_table(content["lesions"]),
    ),
    "organs2d": ("results/organs2d.json", comparisons.organs("6", "7")),
    "organs2d-differences": ("results/organs2d.json", comparisons.organs_differences),
    "organs3d": ("results/organs3d.json", comparisons.organs("10")),
    "organs3d-differences": ("results/organs3d.json", comparisons.organs_differences),
    "bundle": ("results/bundle.json", bundles.bundle),
    "cuda-faults": ("results/cuda_mutants.json", cuda_faults),
    "gpu-build": ("results/gpu_build.json", gpu_build.gpu_build),
    "training": (_TRAINING, network_speed.training),
    "training-bf16": (_ROUNDED, network_speed.rounded),
    "training-notes": (_TRAINING, network_speed.training_notes),
    "training-brief": (_TRAINING, network_speed.training_brief),
    "inference": (_INFERENCE, network_speed.inference),
    "inference-notes": (_INFERENCE, network_speed.inference_notes),
    "whole-prediction": (
        "results/bench_predict.json",
        network_speed.whole_prediction,
    ),
    "inference-brief": (_INFERENCE, network_speed.inference_brief),
    "losses-sigmoid": (_LOSSES, loss_speed.loss_times("SIGMOID")),
    "losses-softmax": (_LOSSES, loss_speed.loss_times("SOFTMAX")),
    "losses-notes": (_LOSSES, loss_speed.loss_notes),
    "losses-brief": (_LOSSES, loss_speed.loss_brief),
    "loaded-losses": (_LOADED, loss_speed.loaded_losses),
    "loaded-step": (_LOADED, loss_speed.loaded_step),
    "loaded-notes": (_LOADED, loss_speed.loaded_notes),
    "loaded-brief": (_LOADED, loss_speed.loaded_brief),
    "large-facts": (_LARGE, large_sets.facts),
    "large-ways": (_LARGE, large_sets.ways),
    "large-lmdb": (_LARGE, large_sets.lmdb),
    "onnx": (_ONNX, elsewhere.differences),
    "onnx-notes": (_ONNX, elsewhere.notes),
    "discs": (_DISCS, confidence.discs),
    "discs-facts": (_DISCS, confidence.disc_facts),
    "discs-agreement": (_DISCS, confidence.disc_agreement),
    "discs-second-seed": ("results/discs_seed2.json", confidence.disc_seed),
    "discs-third-seed": ("results/discs_seed3.json", confidence.disc_seed),
    "builds": (_BUILDS, builds.builds),
    "build-compilers": (_BUILDS, builds.compilers),
    "build-versions": (_BUILDS, builds.versions),
    "build-forks": (_BUILDS, builds.forks),
    "lesion-confidence-verdict": (_LESIONS, confidence.lesion_verdict),
    "lesion-confidence-MA": (_LESIONS, confidence.lesions("MA")),
    "lesion-confidence-HE": (_LESIONS, confidence.lesions("HE")),
    "ranks-losses": ("results/rank_equality.json", ranks.losses),
    "ranks-speed": (_RANKS, ranks.speed),
    "ranks-foretold": (_RANKS, ranks.foretold),
    "calibration": ("results/idrid_calibration.json", confidence.calibration),
    "lesion-confidence-facts": (_LESIONS, confidence.lesion_facts),
}
"""By the name of a table: the file that it is made from, and what makes it."""
