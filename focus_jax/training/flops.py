# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Model FLOPs of a step, counted over its jaxpr, and the peak FLOP/s of devices.

Convention, said beside every TFLOP/s and MFU: matmuls and convolutions of the forward and backward pass, as the step is
differentiated without rematerialisation; 2 FLOPs a multiply-accumulate; nothing else (no norms, softmax, optimizer).
A convolution counts the multiply-accumulates that meet a real input value: taps on zero padding and, in the transposed
convolutions of gradients, on the zeros between dilated values do not count. So the forward, the input gradient and the
kernel gradient of one convolution count the same. XLA's cost analysis counts convolutions in the same way, but loop
bodies once, which is why it is not used.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.extend.core import primitives

from focus_jax.errors import UserError
from focus_jax.training import step as step_lib

# Dense peak of one jax device in TFLOP/s: (bfloat16, float32). A TPU multiplies float32 at default precision in one
# bfloat16 pass; a GPU in TF32. Keys are jax.Device.device_kind.
PEAK = {
    "TPU v4": (275, 275),  # cloud.google.com/tpu/docs/v4
    "TPU v5 lite": (197, 197),  # v5e, cloud.google.com/tpu/docs/v6e (column of comparison)
    "TPU v5": (459, 459),  # v5p, cloud.google.com/tpu/docs/v5p
    "TPU v6 lite": (918, 918),  # v6e, cloud.google.com/tpu/docs/v6e
    "TPU7x": (1153.5, 1153.5),  # half a chip is a device; cloud.google.com/tpu/docs/tpu7x: 2307 a chip
    "NVIDIA A100-SXM4-40GB": (312, 156),  # NVIDIA A100 data sheet, without sparsity
    "NVIDIA A100-SXM4-80GB": (312, 156),
    "NVIDIA H100 80GB HBM3": (989, 494.5),  # SXM; NVIDIA H100 data sheet, half of the figures with sparsity
    "NVIDIA H200": (989, 494.5),  # NVIDIA H200 data sheet, the same die
}


def peak_flops(device_kind: str, dtype: Any) -> float | None:
    """Dense FLOP/s of one device for matmuls in `dtype` (bfloat16 or float32); None where it is not known (CPU)."""
    if device_kind not in PEAK:
        return None
    return 1e12 * PEAK[device_kind][0 if np.dtype(dtype).itemsize <= 2 else 1]


def train_flops(stage: step_lib.Stage, trained: Any, frozen: Any, batch: Mapping[str, Any], accumulate: int = 1) -> int:
    """Model FLOPs of one train step over the whole global batch (all devices together).

    Args:
      trained: {group: {path: array or ShapeDtypeStruct}}; frozen: {path: likewise}; batch: {name: likewise [B, ...]}.
      accumulate: micro-batches (the figure hardly depends on it).
    """
    abstract = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
    key = jax.eval_shape(lambda: jax.random.key(0))
    plain = _WithoutRemat(stage)
    grad = lambda t, f, b, k, s: step_lib.loss_and_gradients(plain, t, f, b, k, s, accumulate)
    step = jax.ShapeDtypeStruct((), np.int32)
    return count_flops(grad, abstract(trained), abstract(frozen), abstract(dict(batch)), key, step)


def count_flops(fn: Callable[..., Any], *args: Any) -> int:
    """Matmul and convolution FLOPs of fn(*args); args may be ShapeDtypeStructs. What no output needs is not counted."""
    return _jaxpr(jax.make_jaxpr(fn)(*args).jaxpr)


def largest_remat(fn: Callable[..., Any], *args: Any) -> int:
    """Bytes of all matmul and convolution outputs of the largest jax.checkpoint body in fn; 0 where there is none."""
    return max(_remat_bytes(jax.make_jaxpr(fn)(*args).jaxpr), default=0)


def _remat_bytes(jaxpr: Any) -> Iterator[int]:
    for eqn in jaxpr.eqns:
        for body in _bodies(eqn):
            if eqn.primitive is primitives.remat_p:
                yield _outputs(body)
            else:
                yield from _remat_bytes(body)


def _outputs(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            aval = eqn.outvars[0].aval
            total += math.prod(aval.shape) * aval.dtype.itemsize
        total += sum(map(_outputs, _bodies(eqn)))
    return total


class _WithoutRemat:
    """A stage whose numerators are differentiated as if nothing were rematerialised."""

    def __init__(self, stage: Any):
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def numerators(self, *args: Any) -> Any:
        return without_remat(self._stage.numerators)(*args)


def without_remat(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn with every jax.checkpoint in it, at any depth, replaced by a plain call."""

    def call(*args):
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
        closed = core.ClosedJaxpr(_replace_remat(closed.jaxpr), closed.consts)
        out = core.jaxpr_as_fun(closed)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return call


def _replace_remat(jaxpr: Any) -> Any:
    eqns = []
    for eqn in jaxpr.eqns:
        params = {name: _map_jaxprs(_replace_remat, value) for name, value in eqn.params.items()}
        if eqn.primitive is primitives.remat_p:
            closed = core.ClosedJaxpr(params["jaxpr"], ())
            eqn = eqn.replace(primitive=primitives.closed_call_p, params={"call_jaxpr": closed})
        else:
            eqn = eqn.replace(params=params)
        eqns.append(eqn)
    return jaxpr.replace(eqns=eqns)


def _map_jaxprs(f: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, core.Jaxpr):
        return f(value)
    if isinstance(value, core.ClosedJaxpr):
        return core.ClosedJaxpr(f(value.jaxpr), value.consts)
    if isinstance(value, tuple | list):
        return type(value)(_map_jaxprs(f, v) for v in value) if type(value) in (tuple, list) else value
    return value


def _jaxpr(jaxpr: Any) -> int:
    """FLOPs of the equations that an output or an effect needs."""
    needed = {v for v in jaxpr.outvars if isinstance(v, core.Var)}
    total = 0
    for eqn in reversed(jaxpr.eqns):
        if not eqn.effects and not needed.intersection(eqn.outvars):
            continue
        needed.update(v for v in eqn.invars if isinstance(v, core.Var))
        total += _equation(eqn)
    return total


def _equation(eqn: Any) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        (contract, _), _ = params["dimension_numbers"]
        inner = math.prod(eqn.invars[0].aval.shape[d] for d in contract)
        return 2 * inner * math.prod(eqn.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        return _convolution(eqn)
    bodies = _bodies(eqn)
    if name == "cond":  # of forms by platform the one without a kernel, which says what the kernels compute
        bodies = [body for body in bodies if not _has_kernel(body)] or bodies
    inner = [_jaxpr(body) for body in bodies]
    if not any(inner):
        return 0
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "cond":
        return max(inner)
    if name == "while":
        raise UserError("model FLOPs: a while loop without a fixed number of turns holds a matmul; use lax.scan.")
    if name == "shard_map":  # the body is what one device does
        return math.prod(params["mesh"].shape[a] for a in params["newly_manual_axes"]) * sum(inner)
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid) * sum(inner)
    # A function with its own gradient holds rules beside its body; only the body runs.
    return inner[0] if name.startswith("custom_") else sum(inner)


def _has_kernel(jaxpr: Any) -> bool:
    return any(eqn.primitive.name == "pallas_call" or any(map(_has_kernel, _bodies(eqn))) for eqn in jaxpr.eqns)


def _bodies(eqn: Any) -> list[Any]:
    """The jaxprs among an equation's parameters."""
    return [getattr(j, "jaxpr", j) for value in eqn.params.values() for j in _jaxprs_in(value)]


def _jaxprs_in(value: Any) -> list[Any]:
    if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
        return [value]
    if isinstance(value, tuple | list):
        return [j for v in value for j in _jaxprs_in(v)]
    return []


def _convolution(eqn: Any) -> int:
    params = eqn.params
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    out = eqn.outvars[0].aval.shape
    numbers = params["dimension_numbers"]
    taps = 1
    for d, (stride, (low, _), grow, dilate) in enumerate(
        zip(params["window_strides"], params["padding"], params["lhs_dilation"], params["rhs_dilation"])
    ):
        size, kernel = lhs[numbers.lhs_spec[2 + d]], rhs[numbers.rhs_spec[2 + d]]
        o, k = np.arange(out[numbers.out_spec[2 + d]])[:, None], np.arange(kernel)[None]
        at = o * stride - low + k * dilate  # place in the dilated input; real values stand at multiples of `grow`
        taps *= int(np.sum((at >= 0) & (at <= (size - 1) * grow) & (at % grow == 0)))
    # rhs_spec: (features out, features in of one group, ...)
    features_out, features_in = rhs[numbers.rhs_spec[0]], rhs[numbers.rhs_spec[1]]
    return 2 * taps * (lhs[numbers.lhs_spec[0]] // params["batch_group_count"]) * features_out * features_in
