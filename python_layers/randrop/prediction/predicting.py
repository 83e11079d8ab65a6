"""Predicting a folder of maps and lesion lists from photographs and a network."""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from randrop.cluster import queue, shares
from randrop.cluster.shares import SUFFIX, Share
from randrop.data import (
    Case,
    field_of_view,
    network_input,
    rescale_image,
)
from randrop.data.images import is_turned
from randrop.errors import UserError
from randrop.files import output, reading, write_bytes, write_json
from randrop.prediction import (
    inference,
    lesion_list,
    listing,
    maps,
    networks,
    sharing,
    tiles,
)
from randrop.prediction.model import field_width, scale_for

log = logging.getLogger("randrop")


@dataclasses.dataclass(frozen=True)
class Options:
    """How to predict.

    Attributes
    ----------
    thresholds : mapping of str to float
        The lesion types to write, each with its threshold for the lesion list, in
        probabilities as they are written.
    backend : str
        As in `inference.load`.
    gpu : bool
    tile, overlap : int or None
        As in `tiles.predict`, in pixels; None takes those of `tiles.chosen`.
    scale : float or None
        Scale of photographs, in (0, 1]; None derives it from the network's training.
    flips: bool
        Take the mean over four mirrored copies of each tile.
    calibrated : bool
        Apply the calibration of the run, if it has one for these weights.
    out_of_fold : bool
        Of a cross-validation, take the network that was not trained on the photograph.
    lists : listing.Lists or None
        Also write a lesion list of each photograph.
    share : Share or None
        Predict this share of the photographs, for a later call without.
    """

    thresholds: Mapping[str, float]
    backend: str = "auto"
    gpu: bool = False
    tile: int | None = None
    overlap: int | None = None
    scale: float | None = None
    flips: bool = False
    calibrated: bool = True
    out_of_fold: bool = False
    lists: listing.Lists | None = None
    share: Share | None = None


def predict(
    cases: Sequence[Case],
    network: networks.Trained,
    options: Options,
    out: Path,
    divide: Callable[[int], None] | None = None,
) -> None:
    """Write the maps of photographs, their provenance, and optionally lesion lists.

    A photograph that cannot be read does not stop the others.

    Parameters
    ----------
    cases : sequence of Case
    network : networks.Trained
    options : Options
    out : Path
        Receives `<type>/<name>.png`, `prediction.json` and, with `options.lists`,
        the files of `listing.names`; or only the folder of the share.
    divide : callable, optional
        Called with the number of photographs that no share has: has them predicted in
        shares.

    Raises
    ------
    UserError
        If the network is not for these lesions or cannot be loaded, or an option is out
        of range; at the end, if photographs cannot be read, naming them.
    """
    wanted = list(options.thresholds)
    if options.out_of_fold:
        chosen = networks.without(network, [case.name for case in cases])
        opened = [
            networks.opened(member, options.backend, options.gpu)
            for member in network.members
        ]
        of_case = {name: opened[k] for name, k in chosen.items()}
        loaded = opened[0]
    else:
        loaded = networks.opened(network, options.backend, options.gpu)
        of_case = dict.fromkeys((case.name for case in cases), loaded)
    options = tiled(options, loaded)
    check_scale(options.scale)
    log.info(
        "%d photograph(s), %s with %s", len(cases), network.weights, loaded.backend
    )
    files = [
        "prediction.json",
        *(f"{w}/{case.name}.png" for case in cases for w in wanted),
    ]
    if options.lists:
        files += listing.names(options.lists, cases)
    twice = sorted({name for name in files if files.count(name) > 1})
    if twice:
        raise UserError(
            f"{out / twice[0]} would be overwritten, because {twice[0]} is about the "
            "whole prediction: rename the photograph of that name"
        )
    if options.share:
        cases = cases[options.share.number - 1 :: options.share.of]
        out = sharing.folder_of(out, options.share)
        files = [sharing.FILE]
        if not cases:
            log.info("share %s has no photograph", options.share)
            return
    streams = (f"{SUFFIX}/{name}" for name in queue.STREAMS)
    with output(out, "predict", files, streams=streams):
        _write(cases, of_case, network, options, out, divide)


def check_scale(scale: float | None) -> None:
    """Refuse a scale that would enlarge photographs, or leave nothing of them."""
    if scale is not None and not 0 < scale <= 1:
        raise UserError(f"--scale is {scale:g}: give a number above 0, at most 1")


def tiled(options: Options, network: inference.Network) -> Options:
    """Return the options with tiles for the network, or raise as `tiles.chosen`."""
    tile, overlap = tiles.chosen(options.tile, options.overlap, network.stride)
    return dataclasses.replace(options, tile=tile, overlap=overlap)


def _write(
    cases: Sequence[Case],
    of_case: Mapping[str, inference.Network],
    network: networks.Trained,
    options: Options,
    out: Path,
    divide: Callable[[int], None] | None,
) -> None:
    scaling = networks.calibration_of(network) if options.calibrated else {}
    flips = network.facts["calibration"].get("flips") if scaling else None
    if flips is not None and flips != options.flips:
        log.warning(
            "The network was calibrated %s --flips, and predicts %s: its probabilities "
            "are somewhat off",
            *(("with", "without") if flips else ("without", "with")),
        )
    record = {
        "complete": False,
        "weights": str(network.weights.resolve()),
        "weights_sha256": hashlib.sha256(
            reading.read_bytes(network.weights)
        ).hexdigest(),
        "deploy": str(network.deploy.resolve()),
        "run": str(network.run.resolve()) if network.run else None,
        "lesions": list(options.thresholds),
        "backend": of_case[cases[0].name].backend,
        "gpu": options.gpu,
        "tile": options.tile,
        "overlap": options.overlap,
        "scale": options.scale,
        "flips": options.flips,
        "out_of_fold": options.out_of_fold,
        "calibration": {
            lesion: scaling[lesion]._asdict()
            for lesion in options.thresholds
            if lesion in scaling
        },
        "thresholds": dict(options.thresholds),
        "scales": {},
        "seconds": {},
        "failed": {},
    }
    lists: dict[str, list] = {}
    known, share = _shared(cases, record, options, out, divide)
    for case in tqdm(cases, desc="predict", unit="photo", disable=None):
        start = time.perf_counter()
        seconds, failed, scale = None, None, 0.0
        if case.name in known:
            one = known[case.name]
            scale, seconds, failed = one.scale, one.seconds, one.failed
            if failed is None:
                sharing.take(one, _files_of(case, options), out)
                if options.lists:
                    lists[case.name] = listing.read(case, out)
        else:
            try:
                scale, of_type, image = _predicted(
                    case, of_case[case.name], network, options, scaling
                )
            except UserError as error:
                failed = str(error)
            else:
                _write_maps(of_type, case, out)
                if options.lists:
                    lists[case.name] = listing.write(
                        case, image, of_type, options.thresholds, options.lists, out
                    )
        if failed is not None:
            record["failed"][case.name] = failed
        else:
            record["scales"][case.name] = round(scale, 4)
            if seconds is None:
                seconds = round(time.perf_counter() - start, 3)
            record["seconds"][case.name] = seconds
        if share:
            share.add(case, round(scale, 4), seconds or 0, failed)
        if failed is None:
            # Rewrite it each time: after an interruption, it names this run's maps.
            write_json(out / "prediction.json", record)
    if options.lists:
        lesion_list.write_table(out / listing.TABLE, lists)
    record["complete"] = not record["failed"]
    write_json(out / "prediction.json", record)
    if not options.share and record["complete"]:
        shares.remove(sharing.root_of(out), "predict")
    if record["failed"]:
        done, names = len(record["seconds"]), "\n  ".join(record["failed"].values())
        raise UserError(
            f"{len(record['failed'])} of {len(cases)} photograph(s) failed; {done} "
            f"are done in {out}. Repair or remove:\n  {names}"
        )


def _files_of(case: Case, options: Options) -> list[str]:
    """Return the names of the files of one photograph."""
    own = listing.names(options.lists, [case])[1:] if options.lists else []
    return [*(f"{lesion}/{case.name}.png" for lesion in options.thresholds), *own]


def _shared(
    cases: Sequence[Case],
    record: Mapping[str, Any],
    options: Options,
    out: Path,
    divide: Callable[[int], None] | None,
) -> tuple[dict[str, sharing.Known], sharing.Writer | None]:
    """Return what shares have, after dividing, and what keeps those of this share.

    Raises
    ------
    UserError
        If photographs are missing after dividing.
    """
    settings = sharing.settings_of(record, options.lists)
    root = out.parent if options.share else sharing.root_of(out)

    def known() -> dict[str, sharing.Known]:
        return sharing.known(root, settings, cases, lambda c: _files_of(c, options))

    found = known()
    if options.share:
        return found, sharing.Writer(out, settings)
    # What could not be read may have been repaired.
    found = {name: one for name, one in found.items() if one.failed is None}
    if divide and len(found) < len(cases):
        error = None
        try:
            divide(len(cases) - len(found))
        except UserError as why:
            error = why
        found = known()
        missing = [case.name for case in cases if case.name not in found]
        if missing:
            raise error or UserError(
                f"no share predicted {missing[0]}, perhaps because the nodes have "
                "another backend than this machine: give --backend"
            )
    return found, None


def _predicted(
    case: Case,
    loaded: inference.Network,
    network: networks.Trained,
    options: Options,
    scaling: Mapping[str, Any],
) -> tuple[float, dict[str, np.ndarray], np.ndarray]:
    """Return the scale of a photograph, the probabilities by type, and the image."""
    if options.flips:
        loaded = loaded._replace(forward=tiles.mirrored(loaded.forward))
    image = case.image()
    if options.lists and is_turned(case.image_path):
        log.warning(
            "%s: viewers turn it by its EXIF orientation; places and picture are those "
            "of the stored pixels",
            case.image_path,
        )
    scale = scale_of(case.name, image, options, network)
    _check_size(case, image, scale, loaded)
    probability = probability_of(image, scale, loaded, options)
    of_type = {
        name: probability[network.channels.index(name)] for name in options.thresholds
    }
    scaled = [lesion for lesion in of_type if lesion in scaling]
    # NumPy and OpenCV leave the interpreter to other threads while they work.
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(scaling[x].apply, of_type[x], of_type[x]) for x in scaled]
        for job in jobs:
            job.result()
    return scale, of_type, image


def _write_maps(of_type: Mapping[str, np.ndarray], case: Case, out: Path) -> None:
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(maps.encoded, of_type.values()))
    for lesion, content in zip(of_type, contents, strict=True):
        write_bytes(maps.path_of(out, lesion, case.name), content)


def _check_size(
    case: Case, image: np.ndarray, scale: float, network: inference.Network
) -> None:
    """Refuse a scale that leaves less than one cell of the network.

    Raises
    ------
    UserError
    """
    height, width = (round(side * scale) for side in image.shape[:2])
    if scale != 1 and min(height, width) < network.stride:
        raise UserError(
            f"{case.image_path}: scale {scale:g} leaves {width} x {height} pixels; the "
            f"network needs {network.stride} along each side: give a larger --scale"
        )


def scale_of(
    name: str, image: np.ndarray, options: Options, network: networks.Trained
) -> float:
    """Return a photograph's scale: the option, or the one for the model's field."""
    field = network.facts.get("field_of_view")
    if options.scale is not None or not field:
        return options.scale or 1.0
    width = field_width(image)
    if width < 0.67 * field:
        log.warning(
            "%s: the field of view is %d pixels wide, against %d in training: the "
            "network may miss the smallest lesions",
            *(name, width, field),
        )
    return scale_for(width, field)


def probability_of(
    image: np.ndarray, scale: float, network: inference.Network, options: Options
) -> np.ndarray:
    """Return the probabilities of one photograph, float32 (C, H, W)."""
    size = image.shape[:2]
    image = rescale_image(image, scale)
    inside = field_of_view(image)
    probability = tiles.predict(
        network.forward,
        network_input(image, inside),
        inside,
        channels=network.channels,
        stride=network.stride,
        tile=options.tile,
        overlap=options.overlap,
    )
    if probability.shape[1:] == size:
        return probability
    # Written where they stay: a copy of a dozen million pixels a type takes seconds.
    full = np.empty((len(probability), *size), np.float32)
    for channel, place in zip(probability, full, strict=True):
        cv2.resize(channel, size[::-1], dst=place)
    return full
