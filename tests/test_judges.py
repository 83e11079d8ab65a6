"""Comparison with independent code: PyTorch's autograd, MONAI, nnU-Net, PyMIC.

scripts/build_caffe.py --judges installs the packages; without them, tests are skipped.
"""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_family import BY_TYPE, labels

from randrop import losses
from randrop.pycaffe.build import build_dir

sys.path.append(str(build_dir() / "judges"))
torch = pytest.importorskip(
    "torch", reason="python3 scripts/build_caffe.py --judges installs the judges"
)
functional = torch.nn.functional

shapes = st.tuples(
    st.integers(1, 3), st.integers(2, 4), st.integers(2, 8), st.integers(2, 6)
) | st.tuples(*[st.integers(2, 4)] * 5)
seeds = st.integers(0, 2**32 - 1)
spreads = st.sampled_from([0.3, 2.0, 10.0])
few = settings(deadline=None, max_examples=60)
LARGEST = {}


def inputs(kind, shape, seed, spread, options=None, ignore=False):
    """Logits in double precision and labels, some ignored on request."""
    rng = np.random.default_rng(seed)
    options = dict(options or {})
    if ignore:
        options["ignore_label"] = 255
    return rng.normal(0, spread, shape), labels(rng, BY_TYPE[kind], options, shape)


def agree(name, result, value, x, tolerance=1e-9):
    """Loss and gradient equal a judge's scalar tensor and its derivative by x."""
    value.backward()
    grad = x.grad.numpy()
    # A judge in single precision rounds its gradient to about 1e-9,
    # however small it is: autograd in double precision agrees with us to 1e-17 there.
    scale = max(abs(grad).max(), 1e-4 if tolerance < 1e-6 else 1e-3)
    off = (
        abs(result.loss - value.item()) / max(1, abs(value.item())),
        abs(result.grad - grad).max() / scale,
    )
    LARGEST[name] = np.maximum(LARGEST.get(name, 0), off)
    assert result.loss == pytest.approx(value.item(), rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(
        result.grad, grad, rtol=tolerance, atol=tolerance * scale + 1e-13
    )


@pytest.fixture(scope="module", autouse=True)
def largest_differences():
    yield
    for name, (loss, grad) in sorted(LARGEST.items()):
        print(f"\n{name}: loss {loss:.1e}, gradient {grad:.1e} of its largest", end="")


def tensor(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def bce(x, t):
    return functional.binary_cross_entropy_with_logits(
        x, torch.tensor(t, dtype=torch.float64), reduction="none"
    )


def ce(x, t):
    """Cross-entropy of each pixel, (N, M)."""
    label = torch.tensor(t[:, 0]).long().flatten(1)
    return functional.cross_entropy(x.flatten(2), label, reduction="none")


def onehot(t, classes):
    label = torch.tensor(t[:, 0]).long()
    return torch.movedim(functional.one_hot(label, classes), -1, 1).double()


@few
@given(
    shapes,
    seeds,
    spreads,
    st.sampled_from(losses.SCHEDULES),
    st.booleans(),
    st.sampled_from(["BY_DIFFICULTY", "UNIFORM", "HARDEST"]),
)
def test_random_drop_by_autograd(shape, seed, spread, schedule, ignore, keep):
    x, t = inputs("SigmoidTopKCELoss", shape, seed, spread, ignore=ignore)
    result = losses.random_drop(x, t, schedule, seed, ignore_label=255, keep=keep)
    kept = torch.tensor(result.mask == 1)
    axes = tuple(range(2, x.ndim))
    positives = (kept & torch.tensor(t == 1)).sum(axes, keepdim=True)
    negatives = (kept & torch.tensor(t == 0)).sum(axes, keepdim=True)
    both = (positives + negatives).clamp(min=1).double()
    weight = torch.where(torch.tensor(t == 1), negatives / both, positives / both)
    y = tensor(x)
    value = (weight.double() * kept * bce(y, np.where(t == 255, 0, t))).sum()
    agree("random drop / torch", result, value / shape[0], y)


@few
@given(shapes, seeds, spreads, st.sampled_from([1, 10, 50, 100]), st.booleans())
def test_sigmoid_top_k_percent_by_torch_topk(shape, seed, spread, k, ignore):
    x, t = inputs("SigmoidTopKCELoss", shape, seed, spread, ignore=ignore)
    result = losses.sigmoid_top_k(x, t, "PERCENT", k_percent=k, ignore_label=255)
    y = tensor(x)
    each = bce(y, np.where(t == 255, 0, t))[torch.tensor(t != 255)]
    if each.numel():
        top = each.topk(max(1, int(each.numel() * k / 100))).values
        agree("sigmoid top-k PERCENT / torch", result, top.mean(), y)


@few
@given(shapes, seeds, spreads, st.sampled_from([0.5, 2.0, 20.0]))
def test_sigmoid_top_k_by_torch_topk(shape, seed, spread, per_positive):
    x, t = inputs("SigmoidTopKCELoss", shape, seed, spread)
    result = losses.sigmoid_top_k(x, t, "EXACT", per_positive)
    y = tensor(x)
    total = torch.zeros((), dtype=torch.float64)
    each = bce(y, t).flatten(2)
    for n, c in np.ndindex(*shape[:2]):
        positive = torch.tensor(t[n, c].ravel() == 1)
        p, n_all = int(positive.sum()), int((~positive).sum())
        if not p:
            continue
        k = min(n_all, max(1, int(per_positive * p)))
        hard = each[n, c][~positive].topk(k).values
        total = total + (k * each[n, c][positive].sum() + p * hard.sum()) / (k + p)
    if total.requires_grad:
        agree("sigmoid top-k EXACT / torch", result, total / shape[0], y)


@few
@given(shapes, seeds, spreads, st.sampled_from([10, 50, 100]))
def test_softmax_top_k_is_nnunets(shape, seed, spread, k):
    robust = pytest.importorskip("nnunetv2.training.loss.robust_ce_loss")
    x, t = inputs("SoftmaxTopKLoss", shape, seed, spread)
    y = tensor(x)
    # nnU-Net takes the mean of zero pixels if k % is less than one pixel.
    if t.size * k >= 100:
        value = robust.TopKLoss(k=k)(y, torch.tensor(t))
        result = losses.softmax_top_k(x, t, k_percent=k)
        agree("softmax top-k / nnU-Net", result, value, y)


def test_nnunets_top_k_counts_ignored_pixels_and_ours_does_not():
    """With ignored pixels, nnU-Net takes k % of all pixels, some of which are 0."""
    robust = pytest.importorskip("nnunetv2.training.loss.robust_ce_loss")
    x, t = inputs("SoftmaxTopKLoss", (1, 3, 10, 10), 0, 2.0)
    t[:, :, :8] = 255
    theirs = robust.TopKLoss(k=50, ignore_index=255)(tensor(x), torch.tensor(t))
    ours = losses.softmax_top_k(x, t, k_percent=50, ignore_label=255)
    each = np.sort(ce(tensor(x[:, :, 8:]), t[:, :, 8:]).detach().numpy().ravel())
    assert theirs.item() == pytest.approx(each.sum() / 50)
    assert ours.loss == pytest.approx(each[10:].mean())
    everything = losses.softmax_top_k(x, t, k_percent=100, ignore_label=255)
    assert everything.loss == pytest.approx(each.mean())


@few
@given(shapes, seeds, spreads, st.sampled_from([0.0, 0.5, 2.0]), st.booleans())
def test_sigmoid_focal_by_torchvisions_formula(shape, seed, spread, gamma, ignore):
    """torchvision.ops.sigmoid_focal_loss: p_t from p and the target, alpha_t alike."""
    x, t = inputs("SigmoidFocalCELoss", shape, seed, spread, ignore=ignore)
    result = losses.sigmoid_focal(x, t, gamma, alpha=0.25, ignore_label=255)
    y, target = tensor(x), torch.tensor(np.where(t == 255, 0, t)).double()
    p = torch.sigmoid(y)
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = 0.25 * target + 0.75 * (1 - target)
    value = alpha_t * bce(y, target.numpy()) * (1 - p_t) ** gamma
    value = (value * torch.tensor(t != 255)).sum() / shape[0]
    agree("sigmoid focal / torchvision's formula", result, value, y, 1e-7)


@few
@given(shapes, seeds, spreads, st.sampled_from([0.0, 1.0, 2.0]))
def test_focal_is_monais(shape, seed, spread, gamma):
    monai = pytest.importorskip("monai.losses")
    x, t = inputs("SigmoidFocalCELoss", shape, seed, spread)
    y = tensor(x)
    theirs = monai.FocalLoss(gamma=gamma, alpha=0.25)
    result = losses.sigmoid_focal(x, t, gamma, 0.25, normalization="FULL")
    # MONAI computes in single precision.
    agree("sigmoid focal / MONAI", result, theirs(y, torch.tensor(t)), y, 2e-5)
    x, t = inputs("SoftmaxFocalCELoss", shape, seed, spread)
    y = tensor(x)
    theirs = monai.FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True)
    result = losses.softmax_focal(x, t, gamma)
    # Its mean is over pixels and classes.
    value = shape[1] * theirs(y, torch.tensor(t))
    agree("softmax focal / MONAI", result, value, y, 2e-5)


@few
@given(shapes, seeds, spreads, st.sampled_from([0.0, 0.7, 2.0]), st.booleans())
def test_softmax_focal_by_autograd(shape, seed, spread, gamma, ignore):
    x, t = inputs("SoftmaxFocalCELoss", shape, seed, spread, ignore=ignore)
    alpha = np.linspace(0.2, 1, shape[1])
    result = losses.softmax_focal(x, t, gamma, alpha, ignore_label=255)
    y, valid = tensor(x), t != 255
    each = ce(y, np.where(valid, t, 0))
    modulation = (1 - torch.exp(-each)) ** gamma
    weight = np.where(valid, alpha[np.where(valid, t, 0).astype(int)], 0)
    weight = torch.tensor(weight[:, 0]).flatten(1) / max(1, valid.sum())
    value = (weight * modulation * each).sum()
    # The derivative of z^0.7 has no limit at 0, so autograd fails there.
    if gamma in (0, 2) or float(each.detach().min()) > 1e-9:
        agree("softmax focal / torch", result, value, y, 1e-6)


def dice_by_torch(p, y, smooth, squared, batch, part):
    axes = tuple(range(2, p.ndim))
    axes = (0, *axes) if batch else axes
    power = 2 if squared else 1
    overlap = (part * p * y).sum(axes)
    size = (part * (p**power + y**power)).sum(axes)
    return 1 - ((2 * overlap + smooth) / (size + smooth)).mean()


@few
@given(
    shapes, seeds, spreads, st.booleans(), st.booleans(), st.sampled_from([1e-3, 1.0])
)
def test_dice_is_monais(shape, seed, spread, squared, batch, smooth):
    monai = pytest.importorskip("monai.losses")
    options = {"smooth": smooth, "squared": squared, "batch": batch}
    common = {"squared_pred": squared, "batch": batch}
    common |= {"smooth_nr": smooth, "smooth_dr": smooth}
    for background in (True, False):
        x, t = inputs("SoftDiceLoss", shape, seed, spread, {"activation": "SOFTMAX"})
        y = tensor(x)
        theirs = monai.DiceLoss(
            to_onehot_y=True, softmax=True, include_background=background, **common
        )
        result = losses.dice(x, t, include_background=background, **options)
        agree("softmax Dice / MONAI", result, theirs(y, torch.tensor(t)), y, 1e-5)
    x, t = inputs("SoftDiceLoss", shape, seed, spread, {"activation": "SIGMOID"})
    y = tensor(x)
    theirs = monai.DiceLoss(sigmoid=True, **common)
    result = losses.dice(x, t, "SIGMOID", **options)
    agree("sigmoid Dice / MONAI", result, theirs(y, torch.tensor(t)), y, 1e-5)


@few
@given(
    shapes,
    seeds,
    spreads,
    st.sampled_from([(0.3, 0.7), (0.5, 0.5), (1.0, 0.1)]),
    st.booleans(),
    st.sampled_from([1e-3, 1.0]),
)
def test_tversky_is_monais(shape, seed, spread, weights, batch, smooth):
    """Ours doubles all sums, as Dice does: half of its smooth is theirs."""
    monai = pytest.importorskip("monai.losses")
    alpha, beta = weights
    common = {"alpha": alpha, "beta": beta, "batch": batch}
    common |= {"smooth_nr": smooth / 2, "smooth_dr": smooth / 2}
    options = {"alpha": alpha, "beta": beta, "smooth": smooth, "batch": batch}
    for background in (True, False):
        x, t = inputs("TverskyLoss", shape, seed, spread, {"activation": "SOFTMAX"})
        y = tensor(x)
        theirs = monai.TverskyLoss(
            to_onehot_y=True, softmax=True, include_background=background, **common
        )
        result = losses.tversky(x, t, include_background=background, **options)
        agree("softmax Tversky / MONAI", result, theirs(y, torch.tensor(t)), y, 1e-5)
    x, t = inputs("TverskyLoss", shape, seed, spread, {"activation": "SIGMOID"})
    y = tensor(x)
    theirs = monai.TverskyLoss(sigmoid=True, **common)
    result = losses.tversky(x, t, activation="SIGMOID", **options)
    agree("sigmoid Tversky / MONAI", result, theirs(y, torch.tensor(t)), y, 1e-5)


@few
@given(shapes, seeds, spreads, st.booleans())
def test_dice_is_nnunets_less_one(shape, seed, spread, background):
    """nnU-Net minimises minus Dice: the same gradient, a loss smaller by 1."""
    nnunet = pytest.importorskip("nnunetv2.training.loss.dice")
    x, t = inputs("SoftDiceLoss", shape, seed, spread, {"activation": "SOFTMAX"})
    y = tensor(x)
    theirs = nnunet.MemoryEfficientSoftDiceLoss(
        lambda z: torch.softmax(z, 1), do_bg=background, smooth=1.0, ddp=False
    )
    result = losses.dice(x, t, squared=False, include_background=background)
    value = 1 + theirs(y, torch.tensor(t))
    agree("softmax Dice / nnU-Net", result, value, y, 2e-5)


@few
@given(shapes, seeds, spreads, st.sampled_from([0.5, 1.0, 2.0]), st.booleans())
def test_pm_dice_by_autograd(shape, seed, spread, gamma, sigmoid):
    """The paper's formula; the weights are cut off from the graph."""
    activation = "SIGMOID" if sigmoid else "SOFTMAX"
    x, t = inputs("SoftDiceLoss", shape, seed, spread, {"activation": activation})
    y = tensor(x)
    p = torch.sigmoid(y) if sigmoid else torch.softmax(y, 1)
    truth = torch.tensor(t).double() if sigmoid else onehot(t, shape[1])
    weight = abs(truth - p.detach()) ** gamma
    value = dice_by_torch(p, truth, 1.0, True, False, weight)
    result = losses.dice(x, t, activation, gamma=gamma)
    agree("PM-Dice / torch", result, value, y, 1e-8)


@few
@given(shapes, seeds, spreads, st.booleans(), st.sampled_from([1, 3, 8]))
def test_cc_dice_ce_by_autograd(shape, seed, spread, sigmoid, most):
    """The paper's term of components: the mean over the cells of each class."""
    activation = "SIGMOID" if sigmoid else "SOFTMAX"
    x, t = inputs("SoftDiceLoss", shape, seed, spread, {"activation": activation})
    area = x[0, 0].size
    cells = np.random.default_rng(seed).integers(0, min(most, area), shape)
    y = tensor(x)
    p = torch.sigmoid(y) if sigmoid else torch.softmax(y, 1)
    truth = torch.tensor(t).double() if sigmoid else onehot(t, shape[1])
    cross = bce(y, t) if sigmoid else ce(y, t).reshape(t.shape).expand(shape)
    groups = []
    for n, c in np.ndindex(*shape[:2]):
        of_cells = []
        for cell in np.unique(cells[n, c]):
            own = torch.tensor(cells[n, c] == cell)
            q, z = p[n, c][own], truth[n, c][own]
            overlap = 2 * (q * z).sum() / (q.sum() + z.sum())
            of_cells.append(1 - overlap + cross[n, c][own].mean())
        groups.append(torch.stack(of_cells).mean())
    result = losses.dice(
        x, t, activation, 0.0, squared=False, weight_cross=1.0, cells=cells
    )
    agree("CC-DiceCE / torch", result, torch.stack(groups).mean(), y, 1e-8)


@few
@given(
    shapes,
    seeds,
    spreads,
    st.sampled_from(["ALL", "FOREGROUND"]),
    st.sampled_from([1, 30, 100]),
    st.booleans(),
)
def test_top_k_dice_by_autograd(shape, seed, spread, region, k, ignore):
    x, t = inputs(
        "TopKDiceLoss", shape, seed, spread, {"activation": "SOFTMAX"}, ignore
    )
    result = losses.top_k_dice(x, t, k, region, ignore_label=255)
    y, valid = tensor(x), t != 255
    p = torch.softmax(y, 1)
    truth = onehot(np.where(valid, t, 0), shape[1]) * torch.tensor(valid)
    each = ce(tensor(x), np.where(valid, t, 0)).detach().reshape(t.shape)
    chosen = torch.zeros(t.shape, dtype=torch.bool)
    for n in range(shape[0]):
        classes = [None] if region == "ALL" else range(shape[1])
        for c in classes:
            own = torch.tensor(valid[n] if c is None else t[n] == c)
            if own.any():
                number = max(1, int(own.sum() * k / 100))
                least = each[n][own].topk(number).values.min()
                chosen[n] |= own & (each[n] >= least)
    part = chosen if region == "ALL" else chosen | (torch.tensor(valid) & (truth == 0))
    value = dice_by_torch(p, truth, 1.0, True, False, part.double())
    agree(f"topK-Dice {region} / torch", result, value, y, 1e-8)


def exp_log_by_torch(y, t, gammas, change_dice, weights, change_p):
    """Equations 1 to 3, with what PyMIC changes; the sums run over the batch."""
    truth = onehot(t, y.shape[1])
    p = torch.softmax(y, 1)
    axes = (0, *range(2, y.ndim))
    dice = change_dice(p, truth, axes)
    own = (change_p(p) * truth).sum(1)
    weight = (weights(truth.mean(axes)).reshape(-1, *[1] * (y.ndim - 2)) * truth).sum(1)
    return (
        0.8 * ((-torch.log(dice)) ** gammas[0]).mean()
        + 0.2 * (weight * (-torch.log(own)) ** gammas[1]).mean()
    )


def papers_dice(p, truth, axes):
    return (2 * (p * truth).sum(axes) + 1) / (p.sum(axes) + truth.sum(axes) + 1)


def root_of_inverse(share):
    return torch.where(share > 0, (1 / share.clamp(min=1e-30)) ** 0.5, 0)


@few
@given(shapes, seeds, st.sampled_from([(0.3, 0.3), (1.0, 1.0), (2.0, 0.5)]))
def test_exp_log_by_autograd(shape, seed, gammas):
    x, t = inputs("ExpLogLoss", shape, seed, 1.0)
    result = losses.exp_log(
        x, t, gamma_dice=gammas[0], gamma_cross=gammas[1], batch=True
    )
    y = tensor(x)
    value = exp_log_by_torch(y, t, gammas, papers_dice, root_of_inverse, lambda p: p)
    agree("ExpLog / torch", result, value, y, 1e-8)


@pytest.mark.parametrize("shape", [(2, 4, 8, 6), (1, 5, 4, 6, 5)])
def test_pymics_exp_log_differs_from_the_paper_and_ours_does_not(shape):
    """PyMIC squeezes D and p into [0.005, 0.995] and weighs by (f + 0.1)^-0.5.

    With these two changes the paper's equations are PyMIC's; without, ours.
    """
    pymic = pytest.importorskip("pymic.loss.seg.exp_log")
    x, t = inputs("ExpLogLoss", shape, 3, 1.0)
    gammas = (0.3, 0.3)
    theirs = pymic.ExpLogLoss(
        {"ExpLogLoss_w_dice".lower(): 0.8, "ExpLogLoss_gamma".lower(): 0.3}
    )
    value = theirs(
        {"prediction": tensor(x), "ground_truth": onehot(t, shape[1])}
    ).item()

    def squeezed(p):
        return 0.005 + 0.99 * p

    def their_dice(p, truth, axes):
        overlap, size = (p * truth).sum(axes), p.sum(axes) + truth.sum(axes)
        return squeezed((2 * overlap + 1e-5) / (size + 1e-5))

    changed = exp_log_by_torch(
        tensor(x), t, gammas, their_dice, lambda f: (f + 0.1) ** -0.5, squeezed
    )
    paper = exp_log_by_torch(
        tensor(x), t, gammas, papers_dice, root_of_inverse, lambda p: p
    )
    assert value == pytest.approx(changed.item(), rel=1e-6)
    assert losses.exp_log(x, t, batch=True).loss == pytest.approx(paper.item())
    assert abs(value - paper.item()) > 0.01
