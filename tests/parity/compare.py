# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every parity test does: random weights on both sides, and max|a-b| <= tol * max|b| for each array."""

import numpy as np
import torch

BLOCK, NETWORK, GRADIENT = 1e-5, 1e-4, 1e-4  # relative to the largest value of the array, float32

NORMS = (torch.nn.GroupNorm, torch.nn.BatchNorm2d, torch.nn.LayerNorm)


def randomise(module, seed=0):
    """module with new parameters: weights N(0, 1/fan_in), biases N(0, 0.1), norm scales 1 + N(0, 0.1)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(like, std):
        return torch.randn(like.shape, generator=generator) * std

    with torch.no_grad():
        for child in module.modules():
            for name, p in child.named_parameters(recurse=False):
                if isinstance(child, NORMS):
                    p.copy_(normal(p, 0.1) + (name == "weight"))
                else:
                    p.copy_(normal(p, p[0].numel() ** -0.5 if p.ndim > 1 else 0.1))
    return module


def nchw(x):
    """[B, H, W, C] numpy -> [B, C, H, W] torch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 1)))


def nhwc(x):
    """[B, C, H, W] torch -> [B, H, W, C] numpy."""
    return np.moveaxis(x.detach().numpy(), 1, -1)


def state(module):
    """State dict as numpy."""
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


def gradients(module):
    """{key: numpy gradient} of the parameters that have one."""
    return {key: p.grad.numpy() for key, p in module.named_parameters() if p.grad is not None}


def assert_close(ours, theirs, tolerance, what=""):
    """max|a-b| <= tolerance * max|b|."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{what}: {ours.shape} instead of {theirs.shape}"
    error, scale = np.max(np.abs(ours - theirs)), np.max(np.abs(theirs))
    assert scale > 0, f"{what}: the reference is zero, so nothing is compared"
    assert error <= tolerance * scale, f"{what}: {error / scale:.2e} > {tolerance:.0e}"


def assert_gradients(ours, theirs, tolerance=GRADIENT):
    """Per key. A key's bias (k.bias) moves all logits of a query alike: its true gradient is 0, so it must be noise."""
    for key, want in theirs.items():
        if key.endswith("k.bias"):
            noise = 1e-4 * np.max(np.abs(theirs[key.replace("bias", "weight")]))
            assert max(np.max(np.abs(want)), np.max(np.abs(ours[key]))) < noise, key
            continue
        assert_close(ours[key], want, tolerance, f"gradient of {key}")
