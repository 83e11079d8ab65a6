"""The networks of prototxt/ as PyTorch users write them, for timing."""

from collections.abc import Sequence

import torch
from torch import nn


def conv_bn_relu(before: int, after: int, axes: int) -> nn.Sequential:
    """Return a convolution of size 3, batch normalisation and ReLU."""
    conv, norm = (
        (nn.Conv2d, nn.BatchNorm2d) if axes == 2 else (nn.Conv3d, nn.BatchNorm3d)
    )
    return nn.Sequential(
        conv(before, after, 3, padding=1, bias=False),
        norm(after),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """The network of `randrop.nets.unet`."""

    def __init__(self, channels: int, base: int, depth: int = 4) -> None:
        super().__init__()
        widths = [base * 2**level for level in range(depth)]
        self.down = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before, after, 2), conv_bn_relu(after, after, 2))
            for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1]
        )
        self.joined = nn.ModuleList(
            nn.Sequential(
                conv_bn_relu(2 * width, width, 2), conv_bn_relu(width, width, 2)
            )
            for width in widths[:-1]
        )
        self.pool = nn.MaxPool2d(2)
        self.score = nn.Conv2d(base, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = torch.cat([skips[level], self.up[level](x)], 1)
            x = self.joined[level](x)
        return self.score(x)


class Block3d(nn.Module):
    """k convolutions, and a 1 x 1 x 1 convolution in parallel."""

    def __init__(self, before: int, after: int, convolutions: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(
                conv_bn_relu(after if k else before, after, 3)
                for k in range(convolutions)
            )
        )
        self.skip = nn.Conv3d(before, after, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of both paths."""
        return self.body(x) + self.skip(x)


class ExpLog3d(nn.Module):
    """The network of `randrop.nets.explog3d`."""

    def __init__(
        self, channels: int, base: int = 8, convolutions: Sequence[int] = (1, 2, 2)
    ) -> None:
        super().__init__()
        levels = len(convolutions)
        widths = [base * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            Block3d(before, after, k)
            for before, after, k in zip(
                [1, *widths], widths, convolutions, strict=False
            )
        )
        self.halve = nn.ModuleList(nn.Conv3d(2 * n, n, 1) for n in widths[:-1])
        self.up = nn.ModuleList(
            Block3d(2 * n, n, k)
            for n, k in zip(widths, convolutions[:-1], strict=False)
        )
        self.deep = nn.ModuleList(
            nn.Conv3d(widths[level], base, 1) for level in range(levels - 1, 0, -1)
        )
        self.pool = nn.MaxPool3d(2)
        self.dropout = nn.Dropout(0.5, inplace=False)
        self.score = nn.Conv3d(base * levels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = x + 0.1 * torch.randn_like(x)
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        x = self.dropout(x)
        decoded = [x]
        for level in reversed(range(len(self.up))):
            up = nn.functional.interpolate(self.halve[level](x), scale_factor=2)
            x = self.up[level](torch.cat([skips[level], up], 1))
            decoded.append(x)
        widest = [x]
        for i, features in enumerate(decoded[:-1]):
            widest.append(
                nn.functional.interpolate(
                    self.deep[i](features), scale_factor=2 ** (len(decoded) - 1 - i)
                )
            )
        return self.score(torch.cat(widest, 1))
