"""Preparing a data set as distributed: split, resumable work, manifest."""

import contextlib
import dataclasses
import errno
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from randrop.data.arrays import LARGE, write_arrays
from randrop.data.cases import STRUCTURES, Case
from randrop.data.cropping import prepare_case
from randrop.data.folders import Groups
from randrop.data.splits import split_by_chance, split_of
from randrop.data.stored import FOLDER, remove_stored, write_index
from randrop.errors import UserError
from randrop.files import (
    make_folder,
    ownership,
    reading,
    schema,
    temporary,
    write_json,
)
from randrop.files.locks import locked
from randrop.pycaffe import processes

log = logging.getLogger("randrop")

_NO_SPACE = "no space"
_FULL = (errno.ENOSPC, errno.EDQUOT)

VERSION = 1
"""Rises when the same settings give other files."""


class Settings(NamedTuple):
    """What a prepared set depends on besides its sources."""

    layout: str
    width: int  # of the field of view with its margin, in pixels
    validation_share: float
    seed: int
    cover: float = 0.0  # least share of a mask's pixel that lesions cover; 0: any


def prepare(
    groups: Groups,
    out: Path,
    settings: Settings,
    workers: int = 2,
    split_file: Path | None = None,
    complete: Callable[[Path, dict[str, Any]], None] | None = None,
    arrays: bool | None = None,
) -> dict[str, Any]:
    """Write photographs and masks, cropped to the field of view and reduced.

    `out` receives images/ and masks/<type>/ (lossless PNG), split.json and
    manifest.json: a set for `read_dataset`. Photographs are reduced by area averaging.
    A mask pixel is lesion if lesions cover the share of it that the settings have, by
    default any; no lesion vanishes. Photographs narrower than the width keep their
    size. Empty masks are not written: if a type was looked for, no file means no
    lesion.

    The set is built in a folder beside `out`, which is renamed at the end. After an
    interruption, a new run continues with the missing photographs.

    Parameters
    ----------
    groups : dict of str to list of Case
        From `layouts.read_groups`.
    out : Path
    settings : Settings
    workers : int
        Processes.
    split_file : Path, optional
        JSON file of the subsets; for the default see `splits.split_by_chance`.
    complete : callable, optional
        Called with the folder and the manifest before the folder is renamed.
    arrays : bool, optional
        Also write arrays/, from which trainings cut patches without decoding; see
        `arrays.write_arrays`. By default sets have them that decoded are larger than
        `arrays.LARGE`. A set that has them keeps them up to date.

    Returns
    -------
    dict
        The manifest: the settings, and for each case its source file and SHA-256,
        those of its masks, subset, patient, unknown types, crop box and scale, and for
        each type the number of pixels and of lesions (8-connected regions).

    Raises
    ------
    UserError
        If settings are out of range, `out` holds something else, another program writes
        there, or sources cannot be read: the message names them all, and the others are
        kept for the next run.
    """
    _check(settings)
    wanted = {"version": VERSION, **settings._asdict()}
    known = _check_out(out, wanted)
    cases = [case for group in groups.values() for case in group]
    if split_file is None:
        subsets = split(groups, settings)
    else:
        given = split_of(groups, split_file)
        subsets = {name: list(names) for name, names in given.items()}
        chosen = {name for names in subsets.values() for name in names}
        cases = [case for case in cases if case.name in chosen]
    half = out if known else out.parent / f".{out.name}.unfinished"
    with locked(half, out):
        if _check_out(out, wanted) != known:
            raise UserError(
                f"another program has just prepared {out}: run this again to check it"
            )
        try:
            _begin(half, out, wanted)
            if known:
                _mark_unfinished(out)
            if _want_arrays(cases, settings.width, out.parent, arrays):
                make_folder(half / FOLDER, out)
            elif half != out:
                remove_stored(half)
            facts = _all_prepared(cases, half, settings, workers)
            _tell_of_outside(facts)
            of = {name: subset for subset, names in subsets.items() for name in names}
            manifest = {
                "generator": "randrop prepare",
                **wanted,
                "cases": {n: {"subset": of[n], **facts[n]} for n in sorted(facts)},
            }
            _leave_out_others(half, set(facts))
            if (half / FOLDER).is_dir():
                write_index(half, [_as_prepared(c, half) for c in cases])
            write_json(half / "split.json", subsets)
            write_json(half / "manifest.json", manifest)
            if complete is not None:
                complete(half, manifest)
            if half != out:
                if out.exists():
                    out.rmdir()
                half.rename(out)
        except OSError as error:
            raise UserError(
                f"cannot write {error.filename or out}: {error.strerror or error}: "
                "free some disk space, or choose another folder"
            ) from error
    return manifest


def _check_out(out: Path, wanted: Mapping[str, Any]) -> bool:
    """Return whether a set with these settings exists.

    Raises
    ------
    UserError
        If the folder holds a set with other settings, or something else.
    """
    known = _settings_of(out)
    if known is not None and known != wanted:
        raise UserError(
            f"{out} was prepared with {known}, not with {wanted}: choose a new folder"
        )
    if known is None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} contains other files: choose a new folder")
    return known is not None


def _begin(half: Path, out: Path, wanted: dict[str, Any]) -> None:
    """Create the folders of a set; remove a partial set with other settings."""
    path = half / "settings.json"
    if path.exists() and _with_defaults(_read_record(path)) != wanted:
        ownership.check_replaceable(half, "prepare")
        _clear(half)
    ownership.claim(half, "prepare", ("settings.json", "split.json", "manifest.json"))
    for folder in ("images", "cases", *(f"masks/{s}" for s in STRUCTURES)):
        make_folder(half / folder, out)
        temporary.remove_left(half / folder)
    temporary.remove_left(half / FOLDER)
    write_json(path, wanted)


def _mark_unfinished(out: Path) -> None:
    """Say in the manifest of a set that it may not describe the files any more."""
    path = out / "manifest.json"
    manifest = schema.generated(path, "randrop prepare") or {}
    write_json(path, manifest | {"unfinished": True})


def _clear(half: Path) -> None:
    """Remove what a partial set holds, so that a kill in between leaves one."""
    # First the records, which promise the other files; last what says whose and of
    # which settings these are.
    order = ("cases", "", "settings.json", ownership.LIST)
    places = {name: k for k, name in enumerate(order)}
    for old in sorted(half.iterdir(), key=lambda old: places.get(old.name, 1)):
        if old.is_dir():
            shutil.rmtree(old)
        elif old.name != ownership.LOCK:
            old.unlink()


def _want_arrays(
    cases: Sequence[Case], width: int, place: Path, given: bool | None
) -> bool:
    """Return whether to write arrays; unless it is given, the size of the set decides.

    The size is that before cropping, and so the largest possible.
    """
    if given is not None:
        return given
    sizes = []
    for case in cases:
        # One without a header is reported later.
        with contextlib.suppress(UserError):
            sizes.append(case.size())
    total = sum(int(4 * h * w * min(1, width / w) ** 2) for h, w in sizes)
    if total < LARGE:
        return False
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < 2 * total:
        log.warning(
            "arrays/ is not written: it takes up to %.1f GB, and the disk of %s has "
            "%.1f GB left. Trainings will decode the photographs, which is slow: free "
            "some disk space, and run this again with --arrays",
            *(total / 2**30, place, free / 2**30),
        )
        return False
    log.info(
        "Decoded, the set takes up to %.1f GB: arrays/ is written, so that trainings "
        "need little memory and start at once; --no-arrays leaves it out",
        total / 2**30,
    )
    return True


def _leave_out_others(half: Path, names: set[str]) -> None:
    """Remove files of photographs that left the source, and empty folders."""
    for pattern in ("images/*", "masks/*/*", "cases/*", f"{FOLDER}/*"):
        for path in half.glob(pattern):
            if path.stem in names:
                continue
            if ownership.is_ours(path):
                path.unlink()
            else:
                log.warning("%s does not belong to this set and is kept", path)
    for folder in (half / "masks").iterdir():
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def split(groups: Groups, settings: Settings) -> dict[str, list[str]]:
    """Return the names of each subset, by `splits.split_by_chance`.

    Raises
    ------
    UserError
        If there is only one patient to draw from.
    """
    owners = {case.patient or case.name for case in groups.get("train", ())}
    wanted = "validation" not in groups and settings.validation_share > 0
    if wanted and len(owners) < 2:
        raise UserError(
            f"there is only {len(owners)} patient for training, so none can be held "
            "out for validation: give --validation-share 0"
        )
    found = split_by_chance(groups, settings.validation_share, settings.seed)
    return {name: list(names) for name, names in found.items()}


def _check(settings: Settings) -> None:
    if settings.width < 64:
        raise UserError(f"width is {settings.width}: give at least 64 pixels")
    if not 0 <= settings.validation_share < 1:
        raise UserError(
            f"validation share is {settings.validation_share}: give a share of at "
            "least 0, below 1"
        )
    if settings.seed < 0:
        raise UserError(f"seed is {settings.seed}: give a number of at least 0")
    if not 0 <= settings.cover <= 1:
        raise UserError(f"cover is {settings.cover:g}: give a share from 0 to 1")


def _settings_of(folder: Path) -> dict[str, Any] | None:
    """Return the settings of a prepared set, if the folder holds one."""
    manifest = schema.generated(folder / "manifest.json", "randrop prepare")
    if manifest is None:
        return None
    found = {key: manifest.get(key) for key in ("version", *Settings._fields)}
    return _with_defaults(found)


def _with_defaults(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with those that an older version did not know."""
    return {**found, "cover": found.get("cover") or 0.0}


def _all_prepared(
    cases: Sequence[Case], half: Path, settings: Settings, workers: int
) -> dict[str, Any]:
    facts, errors = {}, []
    arguments = [(case, half, settings.width, settings.cover) for case in cases]
    with processes.pool(workers) as pool:
        done = pool.map(_prepared, arguments)
        for case, (found, error) in zip(
            cases,
            tqdm(done, "prepare", len(cases), unit="photo", disable=None),
            strict=True,
        ):
            if error:
                errors.append(error)
            else:
                facts[case.name] = found
    if _NO_SPACE in errors:
        raise UserError(
            f"the disk of {half.parent} is full after {len(facts)} of {len(cases)} "
            "photographs: free some disk space, and run the same command again"
        )
    if errors:
        raise UserError(
            f"{len(errors)} of {len(cases)} photographs cannot be used:\n"
            + "\n".join(errors)
            + "\nThe others are kept. Repair or remove these, and run the same "
            "command again"
        )
    return facts


def _prepared(arguments: tuple[Case, Path, int, float]) -> tuple[dict, str]:
    """Prepare one case; return its facts, or the error."""
    case, half, width, cover = arguments
    record = half / "cases" / f"{case.name}.json"
    try:
        sources = {
            str(path): reading.sha256(path)
            for path in (case.image_path, *case.mask_paths.values())
        }
        known = _read_record(record)
        if known and known["sources"] == sources and _is_whole(case, half, known):
            facts = known["facts"]
        else:
            facts = prepare_case(case, half, width, cover)
            write_json(record, {"sources": sources, "facts": facts})
        facts["sha256"] = sources[str(case.image_path)]
        facts["masks_sha256"] = {
            kind: sources[str(path)] for kind, path in case.mask_paths.items()
        }
        if (half / FOLDER).is_dir():
            write_arrays(_as_prepared(case, half))
    except (UserError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if getattr(cause, "errno", None) in _FULL:
            return {}, _NO_SPACE
        return {}, str(error)
    return facts, ""


def _is_whole(case: Case, half: Path, known: Mapping[str, Any]) -> bool:
    """Return whether a prepared photograph and its masks are still there."""
    found = _as_prepared(case, half)
    lesions = known["facts"]["lesions"].items()
    wanted = {name for name, line in lesions if line["pixels"]}
    return found.image_path.is_file() and wanted <= set(found.mask_paths)


def _as_prepared(case: Case, folder: Path) -> Case:
    """Return the case as the set has it, where an empty mask has no file."""
    paths = {s: folder / "masks" / s / f"{case.name}.png" for s in STRUCTURES}
    return dataclasses.replace(
        case,
        image_path=folder / "images" / f"{case.name}.png",
        mask_paths={s: path for s, path in paths.items() if path.is_file()},
    )


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = schema.parse(reading.read_text(path), f"{path}")
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _tell_of_outside(facts: Mapping[str, Any]) -> None:
    """Report masks with pixels where the photograph shows no eye."""
    for name, own in facts.items():
        for lesion, line in own["lesions"].items():
            # Sets started by an older version lack this.
            if line.get("outside_pixels"):
                log.warning(
                    "%s: %d pixel(s) of its %s mask are outside the field of view and "
                    "are ignored; %d of them are cropped",
                    *(name, line["outside_pixels"], lesion, line["cut_pixels"]),
                )
