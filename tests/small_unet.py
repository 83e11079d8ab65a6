"""A small U-Net with random weights and a small data set, for tests of prediction."""

import json

import cv2
import numpy as np

from randrop import nets


def write_run(caffe, folder, lesions=("MA", "HE"), depth=3, base_channels=4, seed=0):
    """Write the files of a finished training: deploy, weights and run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    deploy = folder / "deploy.prototxt"
    deploy.write_text(
        nets.unet(
            len(lesions),
            base_channels=base_channels,
            depth=depth,
            shape=(3, 64, 64),
        )
    )
    net = caffe.Net(str(deploy), caffe.TEST)
    randomise(net, seed)
    net.save(str(folder / "final.caffemodel"))
    (folder / "run.json").write_text(json.dumps({"lesions": list(lesions)}))
    return folder


def randomise(net, seed=0):
    """Give a network random weights and statistics, with outputs that vary."""
    rng = np.random.default_rng(seed)
    types = dict(zip(net._layer_names, (layer.type for layer in net.layers)))  # noqa: B905
    for name, blobs in net.params.items():
        if types[name] == "BatchNorm":
            # Caffe stores sums and the factor to divide them by.
            blobs[0].data[...] = 7 * rng.normal(0, 0.3, blobs[0].data.shape)
            blobs[1].data[...] = 7 * rng.uniform(0.5, 2, blobs[1].data.shape)
            blobs[2].data[...] = 7
        elif types[name] == "Scale":
            blobs[0].data[...] = rng.uniform(0.7, 1.4, blobs[0].data.shape)
        else:
            fan_in = blobs[0].data[0].size
            blobs[0].data[...] = rng.normal(0, fan_in**-0.5, blobs[0].data.shape)
        if types[name] != "BatchNorm":
            for k in range(1, len(blobs)):
                blobs[k].data[...] = rng.normal(0, 0.2, blobs[k].data.shape)


def write_data(root, count=4, size=(70, 96), lesions=("MA", "HE"), seed=0):
    """Write photographs of a bright disc with dark lesions, and their masks."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    eye = np.hypot(y - size[0] / 2, x - size[1] / 2) < 0.45 * min(size)
    (root / "images").mkdir(parents=True)
    for index in range(count):
        photo = np.zeros((*size, 3), np.float32)
        photo[eye] = 60, 110, 180
        photo += eye[..., None] * rng.normal(0, 6, (*size, 3))
        for lesion, radius in zip(lesions, (2, 6, 4, 5), strict=False):
            mask = np.zeros(size, np.uint8)
            for _ in range(3):
                r, angle = rng.uniform(0, 0.3 * min(size)), rng.uniform(0, 6.3)
                centre = (
                    round(size[1] / 2 + r * np.cos(angle)),
                    round(size[0] / 2 + r * np.sin(angle)),
                )
                cv2.circle(mask, centre, radius, 255, -1)
            photo[mask > 0] *= 0.6
            path = root / "masks" / lesion / f"eye{index}_{lesion}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask)
        path = root / "images" / f"eye{index}.png"
        cv2.imwrite(str(path), photo.clip(0, 255).astype(np.uint8))
    return root
