"""How data sets that are larger than the memory are read."""

from collections.abc import Mapping
from typing import Any

from figures.words import bullets
from randrop.report.markdown import table

WAYS = {
    ("before", "computed"): "without arrays, all kept",
    ("now", "computed"): "without arrays",
    ("before", "arrays"): "with arrays, all open",
    ("now", "arrays"): "with arrays",
}


def facts(content: Mapping[str, Any]) -> str:
    """Return what was measured, and how the set was prepared."""
    limit = content["limit_MB"]
    return bullets(
        [
            f"{content['images']} phantom photographs, {content['width']} pixels wide. "
            f"Those for training ({content['train']}) take {content['decoded_MB']:.0f} "
            "MB decoded.",
            f"`prepare.py` took {content['prepare_s'] / 60:.0f} minutes, arrays "
            "included.",
            f"Data workers: {content['workers']}, on patches of {content['patch']} "
            f"pixels; {f'they may have {limit} MB' if limit else 'no limit'}.",
            f"Load of the machine when this began: {content['load']:.1f} on "
            f"{content['processors']} processors. Where it is more than one for each, "
            "times of the processor tell more than seconds.",
        ]
    )


def ways(content: Mapping[str, Any]) -> str:
    """Return time and memory of data workers, by how they come to photographs."""
    heads = ["photographs", "memory", "start, s (processor)", "patches a second"]
    heads += ["processor, ms a patch", "own memory of a worker, MB"]
    heads += ["memory of all, MB"]
    rows = []
    for run in content["ways"]:
        name = WAYS[run["version"], run["way"]]
        limit = f"{content['limit_MB']} MB" if run["limited"] else "unlimited"
        own = f"{run['own_MB']:.0f}"
        if run["ended"] is not None:
            cells = ["killed: no memory left", "", "", f"over {own}", ""]
        else:
            cells = [
                f"{run['start_s']:.1f} ({run['start_processor_s']:.1f})",
                f"{run['patches_per_s']:.0f}",
                f"{run['processor_ms']:.1f}",
                own,
                f"{run['all_MB']:.0f}",
            ]
        rows.append([name, limit, *cells])
    return table(heads, rows)


def lmdb(content: Mapping[str, Any]) -> str:
    """Return time and memory of export, reading and training through LMDB."""
    found = content["lmdb"]
    export, read, train = (found[part] for part in ("export", "read", "train"))
    return bullets(
        [
            f"`export_lmdb.py`: {found['patches']} patches in {export['seconds']:.0f} "
            f"s, {found['patches_per_s']:.0f} a second, with {export['own_MB']:.0f} MB "
            f"of its own; the databases take {found['stored_MB']:.0f} MB.",
            f"Caffe's Data layers: first patch after {read['start_s']:.1f} s, then "
            f"{read['patches_per_s']:.0f} patches a second, {read['own_MB']:.0f} MB.",
            f"`caffe train`: {train['iterations']} iterations of a small U-Net in "
            f"{train['seconds']:.0f} s, {train['own_MB']:.0f} MB.",
        ]
    )
