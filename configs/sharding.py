# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Three tables from logical axis names (in the models) to mesh axes: the whole sharding strategy, a line an axis.

Mesh axes: `dcn_data` across slices, `data` replicas inside a slice, `fsdp` parameters in shards, `tensor` inside a
layer. An axis that does not divide a dimension is left out for that array.
"""

BATCH = ("dcn_data", "data", "fsdp")  # the rows of a batch are spread over all of these

TABLES = {
    "data": (("batch", BATCH),),
    "fsdp": (
        ("batch", BATCH),
        ("conv_out", "fsdp"),
        ("dense_out", "fsdp"),
        ("conv_in", "fsdp"),
        ("codes", "fsdp"),
        ("embed", "fsdp"),  # before "vocab": a lookup in columns moves vectors, one in rows the whole table
        ("vocab", "fsdp"),
    ),
    "fsdp_tensor": (
        ("batch", BATCH),
        ("conv_out", "tensor"),
        ("dense_out", "tensor"),
        ("conv_in", "fsdp"),
        ("dense_in", "fsdp"),
        ("codes", "fsdp"),
        ("vocab", "tensor"),
        ("embed", "fsdp"),
        ("channels", "tensor"),
        ("heads", "tensor"),
    ),
}
