# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PatchGAN and LPIPS in plain torch, with the released module numbers."""

import torch
import torch.nn.functional as F
from torch import nn

from focus_jax.weights.vgg16 import FEATURES


class PatchGAN(nn.Module):
    """pix2pix's critic with three layers; key names main.{0..11}."""

    def __init__(self, width):
        super().__init__()
        steps = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, stride in ((1, 2), (2, 2), (3, 1)):
            a, b = width * 2 ** (i - 1), width * 2**i
            steps += [nn.Conv2d(a, b, 4, stride, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*steps, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, x):
        return self.main(x)[:, 0]


class Lin(nn.Module):
    """1x1 convolution without bias at index 1 (index 0 is dropout)."""

    def __init__(self, width):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(0.0), nn.Conv2d(width, 1, 1, bias=False))

    def forward(self, x):
        return self.model(x)


class LPIPS(nn.Module):
    """VGG LPIPS with key names net.slice{1..5}.{index of torchvision's features} and lin{0..4}.model.1."""

    def __init__(self, widths):
        super().__init__()
        self.net = nn.Module()
        width_in = 3
        for stage, (indices, width) in enumerate(zip(FEATURES, widths, strict=True), 1):
            slice_ = nn.Module()
            for index in indices:
                slice_.add_module(str(index), nn.Conv2d(width_in, width, 3, padding=1))
                width_in = width
            self.net.add_module(f"slice{stage}", slice_)
            self.add_module(f"lin{stage - 1}", Lin(width))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None], persistent=False)

    def features(self, x):
        x, found = (x - self.shift) / self.scale, []
        for stage in range(1, 6):
            if stage > 1:
                x = F.max_pool2d(x, 2)
            for conv in getattr(self.net, f"slice{stage}").children():
                x = F.relu(conv(x))
            found.append(x)
        return found

    def forward(self, a, b):
        total = 0
        for i, (x, y) in enumerate(zip(self.features(a), self.features(b), strict=True)):
            x, y = (v / (v.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
            total = total + getattr(self, f"lin{i}")((x - y) ** 2).mean(dim=(1, 2, 3))
        return total
