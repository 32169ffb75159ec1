# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The Inception-v3 of FID in plain torch, with the key names of its released weights."""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    def __init__(self, inputs, outputs, kernel=1, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def mean_pool(x):
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Block(nn.Module):
    """units: {name: arguments of Unit}; the forward pass of each kind is its own."""

    def __init__(self, **units):
        super().__init__()
        for name, arguments in units.items():
            self.add_module(name, Unit(*arguments))

    def chain(self, name, x, count):
        for i in range(1, count + 1):
            x = getattr(self, f"{name}_{i}")(x)
        return x


class A(Block):
    def __init__(self, n, pool):
        super().__init__(
            branch1x1=(n, 64),
            branch5x5_1=(n, 48),
            branch5x5_2=(48, 64, 5, 1, 2),
            branch3x3dbl_1=(n, 64),
            branch3x3dbl_2=(64, 96, 3, 1, 1),
            branch3x3dbl_3=(96, 96, 3, 1, 1),
            branch_pool=(n, pool),
        )

    def forward(self, x):
        long, short = self.chain("branch3x3dbl", x, 3), self.chain("branch5x5", x, 2)
        return torch.cat([self.branch1x1(x), short, long, self.branch_pool(mean_pool(x))], 1)


class B(Block):
    def __init__(self, n):
        super().__init__(
            branch3x3=(n, 384, 3, 2),
            branch3x3dbl_1=(n, 64),
            branch3x3dbl_2=(64, 96, 3, 1, 1),
            branch3x3dbl_3=(96, 96, 3, 2),
        )

    def forward(self, x):
        return torch.cat([self.branch3x3(x), self.chain("branch3x3dbl", x, 3), F.max_pool2d(x, 3, 2)], 1)


class C(Block):
    def __init__(self, n, w):
        across, down = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
        super().__init__(
            branch1x1=(n, 192),
            branch7x7_1=(n, w),
            branch7x7_2=(w, w, *across),
            branch7x7_3=(w, 192, *down),
            branch7x7dbl_1=(n, w),
            branch7x7dbl_2=(w, w, *down),
            branch7x7dbl_3=(w, w, *across),
            branch7x7dbl_4=(w, w, *down),
            branch7x7dbl_5=(w, 192, *across),
            branch_pool=(n, 192),
        )

    def forward(self, x):
        short, long = self.chain("branch7x7", x, 3), self.chain("branch7x7dbl", x, 5)
        return torch.cat([self.branch1x1(x), short, long, self.branch_pool(mean_pool(x))], 1)


class D(Block):
    def __init__(self, n):
        super().__init__(
            branch3x3_1=(n, 192),
            branch3x3_2=(192, 320, 3, 2),
            branch7x7x3_1=(n, 192),
            branch7x7x3_2=(192, 192, (1, 7), 1, (0, 3)),
            branch7x7x3_3=(192, 192, (7, 1), 1, (3, 0)),
            branch7x7x3_4=(192, 192, 3, 2),
        )

    def forward(self, x):
        return torch.cat([self.chain("branch3x3", x, 2), self.chain("branch7x7x3", x, 4), F.max_pool2d(x, 3, 2)], 1)


class E(Block):
    def __init__(self, n, pool):
        across, down = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
        super().__init__(
            branch1x1=(n, 320),
            branch3x3_1=(n, 384),
            branch3x3_2a=(384, 384, *across),
            branch3x3_2b=(384, 384, *down),
            branch3x3dbl_1=(n, 448),
            branch3x3dbl_2=(448, 384, 3, 1, 1),
            branch3x3dbl_3a=(384, 384, *across),
            branch3x3dbl_3b=(384, 384, *down),
            branch_pool=(n, 192),
        )
        self.pool = pool

    def forward(self, x):
        short, long = self.branch3x3_1(x), self.chain("branch3x3dbl", x, 2)
        wide = [self.branch3x3_2a(short), self.branch3x3_2b(short)]
        wide += [self.branch3x3dbl_3a(long), self.branch3x3dbl_3b(long)]
        return torch.cat([self.branch1x1(x), *wide, self.branch_pool(self.pool(x))], 1)


class Inception(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] -> features [B, 2048] at side x side pixels."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a = B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (C(768, w) for w in (128, 160, 160, 192))
        self.Mixed_7a = D(768)
        self.Mixed_7b = E(1280, mean_pool)
        self.Mixed_7c = E(2048, lambda x: F.max_pool2d(x, 3, 1, 1))
        self.fc = nn.Linear(2048, 1008)  # the release holds the classifier too

    def forward(self, x, side=299):
        x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))
