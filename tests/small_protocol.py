"""A protocol whose trainings take seconds."""

import json

import every_script

from randrop.training import protocol

CONTENT = {
    "title": "Small",
    "written": "2026-01-01",
    "data": "scripts/prepare.py folder SOURCE OUT --width 64",
    "width": 64,
    "lesions": ["MA", "HE"],
    "types": ["MA", "HE"],
    "training": [
        *("--iterations", "4", "--base-channels", "2", "--depth", "2"),
        *("--patch", "32", "--snapshot", "2", "--test-interval", "4"),
        *("--test-iterations", "1", "--workers", "0"),
    ],
    "curve": [2, 4],
    "learning_rates": [1e-3, 1e-2],
    "reference": "cross-entropy",
    "folds": [],
    "arms": [
        {"loss": "cross-entropy", "folds": 2},
        {
            **{"loss": "random-drop:LOG", "name": "drop more", "folds": 1},
            "training": ["--lesion-share", "0.3"],
        },
    ],
}


def folds(names):
    return [
        {"test": names[0:2], "validation": names[2:3]},
        {"test": names[2:4], "validation": names[0:1]},
    ]


def arm(loss, **more):
    return {"loss": loss, "folds": 1, **more}


def prepare(source, data):
    """Prepare photographs as the protocol says; return their folder."""
    every_script.done(
        every_script.start("prepare", "folder", source, data, "--width", 64)
    )
    return data


def write(prepared, path, **change):
    """Write the protocol, with the names of prepared photographs; return its path."""
    names = sorted(path.stem for path in (prepared / "images").iterdir())
    path.write_text(json.dumps(CONTENT | {"folds": folds(names)} | change))
    return path


def record(wanted, **change):
    """Return the content of a record of the first run of a protocol."""
    run = protocol.Run("cross-entropy", 0.001, 1)
    lesion = {"average_precision": 0.5, "froc_score": 0.5, "confusion": None}
    names = wanted.folds[0].test
    lesion |= {"edges": "0", "photographs": {name: ["1", "1"] for name in names}}
    points = {f"{k}": {"MA": 0.5, "HE": 0.5} for k in wanted.curve}
    content = {"arm": run.arm, "rate": run.rate, "fold": 1, "data": "x"}
    content |= {"origin": protocol.origin_of(wanted, run), "curve": points}
    return content | {"lesions": {"MA": lesion, "HE": lesion}} | change
