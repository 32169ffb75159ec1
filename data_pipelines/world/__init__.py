# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The procedural world: scenes of coloured shapes drawn from a seed, with exact truth for every task."""
