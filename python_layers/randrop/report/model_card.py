"""The card of an exported model, and the training facts that come with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from randrop.data import NAMES, Case
from randrop.data.patch_options import MORE_DEFAULTS, more_of
from randrop.evaluation.photographs import Measured
from randrop.report.markdown import bounds, table

SETTINGS = (
    *("net", "loss", "lesions", "iterations", "batch", "patch", "base_channels"),
    *("depth", "prior", "lr", "activation", "lesion_share", "lesion_weights", "seed"),
    *("max_channels", "bf16", "stride", "randrop_version"),
    *(name for name in MORE_DEFAULTS if name != "false_alarms"),
)
"""What of a training's run.json goes along."""

NEEDED = (
    *("net", "loss", "iterations", "batch", "patch", "base_channels", "depth", "prior"),
    *("lr", "lesion_share", "seed"),
)
"""What of it the card tells."""


def subset_facts(cases: Sequence[Case], measured: Measured) -> dict[str, Any]:
    """Return the content of a subset: photographs, and lesions of each type."""
    return {
        "photographs": [case.name for case in cases],
        "lesions": {
            lesion: {
                "photographs": result["images_with_lesion"],
                "lesions": (result["froc"] or {"lesions": 0})["lesions"],
                "share": result["prevalence"],
            }
            for lesion, result in measured.lesions.items()
        },
    }


def card(run: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """Return the model card, Markdown.

    Parameters
    ----------
    run, measured : mapping
        The model's run.json and metrics.json, as scripts/export_model.py writes them.
    """
    about, lesions = measured["about"], run["lesions"]
    merged = "folds" in measured
    words = " and ".join(f"{NAMES[lesion]} ({lesion})" for lesion in lesions)
    parts = [
        f"# {about['title']}",
        f"Finds {words} in colour photographs of the fundus. `deploy.prototxt` and "
        "`final.caffemodel` run in any Caffe 1.0; `export_onnx.py` makes an ONNX file "
        "of them; `run.json` contains the settings and thresholds, `metrics.json` "
        "every figure below.",
        "With FOLDER as the one of these files:",
        "```\nscripts/predict.py --run FOLDER photo.jpg\n```",
        "The network's input is local contrast (`randrop.data.network_input`), not "
        "the photograph. `predict.py` computes it. It also scales the photograph "
        f"down until its field of view is {run['field_of_view']} pixels wide, as in "
        "training, and scales the maps up again.",
        "## Data",
        f"{about['data']}\n\nLicence of the data: {about['licence']}",
        *_photographs(measured, lesions),
        "## Training",
        *_training(run),
        *(_out_of_fold(run, measured) if merged else _held_out(measured)),
        "## Limits",
        "\n".join(f"- {limit}" for limit in about["limits"]),
    ]
    return "\n\n".join(parts) + "\n"


def _photographs(measured: Mapping[str, Any], lesions: Sequence[str]) -> list[str]:
    subsets = measured["subsets"]
    if "folds" in measured:
        every = subsets["out-of-fold"]
        count, folds = len(every["photographs"]), len(measured["folds"])
        said = (
            f"{count} photographs in {folds} folds, by name in `metrics.json`: each "
            "trained all networks but one."
        )
        shown = [("", every)]
    else:
        trained, held_out = subsets["train"], subsets["validation"]
        said = (
            f"{len(trained['photographs'])} photographs for training, "
            f"{len(held_out['photographs'])} held out, by name in `metrics.json`."
        )
        shown = [(", training", trained), (", held out", held_out)]
    rows = [
        [f"{row}{which}", *(_fact(subset["lesions"][x], row) for x in lesions)]
        for row in ("photographs with the lesion", "lesions", "share of the pixels")
        for which, subset in shown
    ]
    return [said, table(["", *lesions], rows)]


def _held_out(measured: Mapping[str, Any]) -> list[str]:
    return [
        "## Measured on the held-out photographs",
        measured_table(measured["lesions"]),
        "Intervals are 95 % bootstrap intervals over photographs. The thresholds "
        "maximise F1 on the training photographs; the held-out photographs were not "
        "used for them.",
    ]


def _out_of_fold(run: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    height, width = measured["size"]
    thresholds = ", ".join(f"{k} {v:.3g}" for k, v in run["thresholds"].items())
    left = set(run["thresholds"]) - set(run.get("calibration", {}).get("types", ()))
    but = f" (but for {' and '.join(sorted(left))})" if left else ""
    return [
        "## Measured by cross-validation",
        f"At the size of the photographs measured, {width} x {height} pixels. Each "
        f"photograph was predicted by the one of the {len(measured['folds'])} networks "
        f"that was not trained on it. What you get is {_what_of_it(run)}",
        measured_table(measured["lesions"]),
        "Intervals are 95 % bootstrap intervals over photographs. Each fold has the "
        "thresholds with the largest F1 on the other folds. Those of the model are of "
        f"all photographs: {thresholds}, in calibrated probabilities{but}.",
        "## Calibration",
        "Platt scaling, fitted on the maps of the single networks. The expected "
        "calibration error over all pixels is small by itself, since nearly all are "
        "background; the reliability of pixels with a high probability is what it "
        "mends. Each fold was scaled by what fits the others.",
        _calibration_table(measured["lesions"]),
    ]


def _what_of_it(run: Mapping[str, Any]) -> str:
    """Return what of the networks of a cross-validation the model is."""
    members, folds = run["members"], run.get("folds", run["members"])
    if members == 1:
        return "the first of them, to which the photographs of its fold alone are new."
    mean = f"the mean of the first {members}" if members < folds else "their mean"
    seen = "which has seen them all: only other photographs can measure it."
    return f"{mean}, {seen}"


def _calibration_table(lesions: Mapping[str, Any]) -> str:
    rows = []
    for name, key in (
        ("mean probability, divided by the share of lesion pixels", "mean_probability"),
        ("expected calibration error", "ece"),
    ):
        for which in ("before", "after"):
            cells = []
            for result in lesions.values():
                own = result["calibrated"]
                value = own and own[which][key]
                if value is None:
                    cells.append("not calibrated")
                elif key == "mean_probability":
                    cells.append(f"{value / own['prevalence']:.2f}")
                else:
                    cells.append(f"{value:.2g}")
            rows.append([f"{name}, {which}", *cells])
    return table(["", *lesions], rows)


def _fact(facts: Mapping[str, Any], row: str) -> str:
    if row == "lesions":
        return str(facts["lesions"])
    if row == "photographs with the lesion":
        return str(facts["photographs"])
    return f"{100 * facts['share']:.2g} %"


def _training(run: Mapping[str, Any]) -> list[str]:
    members = run.get("members", 1)
    # A model of earlier versions has the networks of all folds.
    folds = run.get("folds", members)
    scales = run.get("scales", [])
    said = []
    for k, one in enumerate(scales, 1):
        said += [
            f"Network {k} of {len(scales)} of each fold, for a field of view of "
            f"{one['field_of_view']} pixels:",
            *_stages(one, folds),
        ]
    if scales:
        runs = " ".join(f"RUN{k}" for k in range(1, len(scales) + 1))
        weights = " ".join(f"{one['share']:.4g}" for one in scales)
        said += [
            "These networks of a fold are one, the mean of what they see at their "
            "resolutions:",
            f"```\nscripts/combine_scales.py --runs {runs} --weights {weights} "
            "--out RUN\n```",
            "Beyond the borders of its input, what the reduced networks see counts as "
            "0: the outermost pixels of the output are too low. `predict.py` predicts "
            "a wider margin, and cuts it off.",
        ]
    else:
        said += _stages(run, folds)
    stages = [*run.get("started_from", []), *(x["started_from"] for x in scales)]
    if folds > 1:
        which = f"first {members} of the {folds}" if members < folds else str(folds)
        said.append(
            f"The {which} networks are branches of one, whose output is the mean of "
            "their probabilities."
            if members > 1
            else f"The model is the first of the {folds} networks."
        )
        if any(stages):
            said.append(
                "Each started from the one that was trained without the same "
                "photographs."
            )
    return said


def _stages(run: Mapping[str, Any], folds: int) -> list[str]:
    """Return the commands of a training, and of those that it started from."""
    stages = run.get("started_from", [])
    said = []
    for k, stage in enumerate([*stages, run]):
        if "weights" in stage:
            said.append(
                f"It started from `{stage['weights']}`, of which no training is known."
            )
            continue
        if "field_of_view" in stage and stages:
            said.append(
                f"With a field of view of {stage['field_of_view']} pixels"
                + (", from the weights of the training above:" if k else ":")
            )
        elif k:
            said.append("From the weights of the training above:")
        said.append(f"```\n{_command(stage, folds, started=k > 0)}\n```")
    return said


def _command(run: Mapping[str, Any], folds: int, started: bool) -> str:
    data = f"--data DIR --lesions {' '.join(run['lesions'])}"
    begin, end = f"scripts/train.py {data} ", " --out RUN"
    if started:
        end += " \\\n    --weights EARLIER/final.caffemodel"
    if folds > 1:
        start = "--start EARLIER " if started else ""
        begin = (
            f"scripts/cross_validate.py {data} --folds {folds} {start}--out RUN -- "
            "\\\n    "
        )
        end = ""
    command = (
        f"{begin}--net {run['net']} --loss '{run['loss']}' \\\n"
        f"    --iterations {run['iterations']} --batch {run['batch']} "
        f"--patch {run['patch']} --base-channels {run['base_channels']} "
        f"--depth {run['depth']} \\\n"
        f"    --lr {run['lr']:g} --lesion-share {run['lesion_share']:g} "
        f"--seed {run['seed']}{end}"
    )
    if run.get("max_channels"):
        command += f" --max-channels {run['max_channels']}"
    if run.get("lesion_weights"):
        weights = (f"{k}={v:g}" for k, v in run["lesion_weights"].items())
        command += f" --lesion-weights {' '.join(weights)}"
    if run.get("activation") == "SOFTMAX":
        command += " --activation SOFTMAX"
    # The default of train.py.
    if run["prior"] != 0.01:
        command += f" --prior {run['prior']:g}"
    if run.get("bf16"):
        command += " --bf16"
    more = more_of(run)
    if "false_alarm_share" in more:
        more["false_alarms"] = "FILE"
    for name, value in more.items():
        command += f" --{name.replace('_', '-')} {value}"
    return command


def measured_table(results: Mapping[str, Any]) -> str:
    """Return the figures under `lesions` in a model's metrics.json as Markdown."""
    rows: dict[str, list[str]] = {}
    for result in results.values():
        fixed, froc = result["at_threshold"], result["froc"]
        cells = {
            "average precision": (
                f"{result['average_precision']:.3f}"
                + bounds(result["average_precision_95"])
            ),
            "AUPR of the IDRiD challenge (33 thresholds)": (
                f"{result['aupr_challenge']:.3f}"
            ),
            "FROC score": f"{froc['score']:.3f}" + bounds(froc["score_95"]),
            **_thresholds(fixed),
            "sensitivity at threshold, pixels": f"{fixed['sensitivity']:.3f}",
            "precision at threshold, pixels": f"{fixed['precision']:.3f}",
            "lesions found at threshold": f"{100 * fixed['lesions_found']:.0f} %",
            "false alarms per photograph at threshold": (
                f"{fixed['alarms_per_photograph']:.1f}"
            ),
        }
        for name, cell in cells.items():
            rows.setdefault(name, []).append(cell)
    return table(["", *results], [[name, *cells] for name, cells in rows.items()])


def _thresholds(fixed: Mapping[str, Any]) -> dict[str, str]:
    if "threshold" in fixed:
        return {"threshold": f"{fixed['threshold']:.3f}"}
    low, high = min(fixed["thresholds"]), max(fixed["thresholds"])
    return {"thresholds of the folds, uncalibrated": f"{low:.3f} to {high:.3f}"}
