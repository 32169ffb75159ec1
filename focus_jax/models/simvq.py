# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""SimVQ: a frozen random codebook behind one learned linear map (arXiv 2411.02038; FOCUS section 3.1)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from focus_jax.models.parameters import DENSE_AXES, named, torch_uniform
from focus_jax.ops.nearest_code import nearest_code


class CodeTransform(nn.Module):
    """Holds W [d, d] without bias; the effective codebook is frozen_codebook @ W."""

    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        d = x.shape[-1]
        kernel = self.param("kernel", named(torch_uniform(d), DENSE_AXES), (d, d), self.param_dtype)
        return jnp.matmul(x, kernel.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)


class SimVQ(nn.Module):
    """Quantises vectors of width `dim` to one of `codes` rows of frozen_codebook @ W, in float32 throughout.

    The buffer frozen_codebook [codes, dim] ~ N(0, 1/dim) is never trained. Reconstruction gradients pass straight
    through to z and do not reach W; W learns from the codebook term, the encoder also from `beta` times the
    commitment term, as in the released DualViTok. block: codes searched at a time.
    """

    codes: int
    dim: int
    beta: float = 0.25
    block: int = 4096
    param_dtype: Any = jnp.float32

    def setup(self) -> None:
        init = named(nn.initializers.normal(self.dim**-0.5), ("codes", "code_dim"))
        self.frozen_codebook = self.param("frozen_codebook", init, (self.codes, self.dim), self.param_dtype)
        self.code_transform = CodeTransform(self.param_dtype)

    def codebook(self) -> jax.Array:
        """The effective codebook [codes, dim] float32."""
        return self.code_transform(jax.lax.stop_gradient(self.frozen_codebook).astype(jnp.float32))

    def indices_to_codes(self, indices: jax.Array) -> jax.Array:
        """int32 [...] -> code vectors [..., dim] float32; differentiable in W."""
        rows = jnp.take(jax.lax.stop_gradient(self.frozen_codebook), indices, axis=0).astype(jnp.float32)
        return self.code_transform(rows)  # gather first: W's gradient then needs no [codes, dim] scatter

    def __call__(self, z: jax.Array, *, quantise: bool | jax.Array = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """z [..., dim] -> (quantised [..., dim] float32 with the straight-through gradient, out).

        out: indices int32 [...] (nearest codes), codes [..., dim] (their vectors), and, as a mean over dim for each
        position, codebook_error [...] = |sg(z) - code|^2, commitment_error [...] = |z - sg(code)|^2 and
        error [...] = codebook_error + beta * commitment_error.
        quantise: False (static or traced) passes z through and makes the three errors zero, for the codebook start.
        """
        z = z.astype(jnp.float32)
        indices = nearest_code(z, self.codebook(), block=self.block)
        codes = self.indices_to_codes(indices)
        on = jnp.asarray(quantise)
        codebook_error = jnp.mean((jax.lax.stop_gradient(z) - codes) ** 2, axis=-1)
        commitment_error = jnp.mean((z - jax.lax.stop_gradient(codes)) ** 2, axis=-1)
        out = {
            "indices": indices,
            "codes": codes,
            "codebook_error": jnp.where(on, codebook_error, 0.0),
            "commitment_error": jnp.where(on, commitment_error, 0.0),
        }
        out["error"] = out["codebook_error"] + self.beta * out["commitment_error"]
        quantised = z + jax.lax.stop_gradient(jnp.where(on, codes - z, 0.0))
        return quantised, out
