# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Raw data sets into validated shards, and shards into batches; host code only, nothing here imports jax."""
