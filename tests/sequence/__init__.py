# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
