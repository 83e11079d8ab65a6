"""Measuring the labels that a network predicts for a labelled set."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from randrop.data.hdf5 import opened
from randrop.data.labelled import LabelledSet, check_values
from randrop.errors import UserError
from randrop.files import replacing
from randrop.pycaffe.build import import_caffe
from randrop.training.snapshots import check_weights


class Overlap(NamedTuple):
    """Dice and IoU of the classes of one image; NaN if neither image has the class.

    Attributes
    ----------
    dice, iou : float64 (C,)
    """

    dice: np.ndarray
    iou: np.ndarray


def overlap(truth: np.ndarray, predicted: np.ndarray, classes: int) -> Overlap:
    """Return the overlap of each class of two label images of the same shape.

    Dice is 2 |A B| / (|A| + |B|) and IoU is |A B| / |A or B|, where A and B are the
    pixels of a class in the truth and in the prediction.
    """
    counts = confusion_matrix(
        truth.ravel(), predicted.ravel(), labels=np.arange(classes)
    ).astype(float)
    both = np.diag(counts)
    sizes = counts.sum(0) + counts.sum(1)
    with np.errstate(invalid="ignore"):
        return Overlap(2 * both / sizes, both / (sizes - both))


def predict(
    deploy: Path, weights: Path, images: np.ndarray, classes: int
) -> np.ndarray:
    """Return the class of each pixel.

    Parameters
    ----------
    deploy, weights : Path
    images : float32 (N, channels, spatial)
    classes : int

    Returns
    -------
    uint8 (N, spatial)
        The class with the largest probability; the first of equal ones.

    Raises
    ------
    UserError
        If the network is for other images or another number of classes.
    """
    caffe = import_caffe()
    net = caffe.Net(str(deploy), str(weights), caffe.TEST)
    wanted = tuple(net.blobs["data"].data.shape[1:])
    known = net.blobs["prob"].data.shape[1]
    if wanted != images.shape[1:] or known != classes:
        raise UserError(
            f"{deploy} expects {known} labels and images of {wanted}, but the data "
            f"has {classes} labels and images of {images.shape[1:]}: use the data set "
            "that the run was trained on"
        )
    labels = np.empty((len(images), *images.shape[2:]), np.uint8)
    for k in tqdm(range(len(images)), "predict", unit="image", disable=None):
        net.blobs["data"].data[0] = images[k]
        labels[k] = net.forward()["prob"][0].argmax(0)
    return labels


def measure(
    run: Path,
    data: LabelledSet,
    subset: str = "validation",
    picture: Path | None = None,
) -> dict[str, Any]:
    """Predict a subset with a trained network and measure the overlap.

    Parameters
    ----------
    run : Path
        Folder with deploy.prototxt and final.caffemodel.
    data : LabelledSet
    subset : str
        train or validation.
    picture : Path, optional
        PNG file of the first images, their labels and the predictions.

    Returns
    -------
    dict
        `labels`: name to the mean Dice and IoU over images, without images where
        neither truth nor prediction has the label, and the pixels in the truth;
        `mean_dice` and `mean_iou` over all labels except the background.

    Raises
    ------
    UserError
        If a file is missing or damaged, or the network is for other labels or images.
    """
    deploy, weights = run / "deploy.prototxt", run / "final.caffemodel"
    for path in (deploy, weights):
        if not path.exists():
            raise UserError(f"{path} is missing: {run} has no finished training")
    check_weights(weights)
    check_values(data, (subset,))
    with opened(data.file(subset)) as file:
        images, truth = file["data"][:], file["label"][:, 0].astype(np.uint8)
    classes = len(data.labels)
    predicted = predict(deploy, weights, images, classes)
    each = [overlap(t, p, classes) for t, p in zip(truth, predicted, strict=True)]
    pixels = np.bincount(truth.ravel(), minlength=classes)
    labels = {}
    for c, name in enumerate(data.labels):
        labels[name] = {"pixels": int(pixels[c])}
        for key in Overlap._fields:
            values = [getattr(o, key)[c] for o in each]
            known = [v for v in values if not np.isnan(v)]
            labels[name][key] = float(np.mean(known)) if known else None
    content: dict[str, Any] = {"subset": subset, "images": len(images)}
    for key in Overlap._fields:
        known = [labels[n][key] for n in data.labels[1:] if labels[n][key] is not None]
        content[f"mean_{key}"] = float(np.mean(known)) if known else None
    if picture is not None:
        _draw(picture, images[:4, 0], truth[:4], predicted[:4], classes)
    return content | {"labels": labels}


def _draw(
    path: Path,
    images: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    classes: int,
) -> None:
    """Draw images above their labels; of volumes, the middle slice."""
    figure = Figure(figsize=(2.6 * len(images), 7.6), layout="constrained")
    rows = {"image": images, "truth": truth, "prediction": predicted}
    axes = figure.subplots(len(rows), len(images), squeeze=False)
    for row, (name, content) in zip(axes, rows.items(), strict=True):
        for panel, image in zip(row, content, strict=True):
            flat = image[len(image) // 2] if image.ndim == 3 else image
            style = {"cmap": "gray"}
            if name != "image":
                style = {"cmap": "nipy_spectral", "interpolation": "nearest"}
                style |= {"vmin": 0, "vmax": classes}
            panel.imshow(flat, **style)
            panel.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)
