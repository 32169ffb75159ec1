# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the language model reads: ids (vocabulary.py) and text as ids (text.py). Needs no JAX, so loader processes may
import it; embedding.py alone, which gives new ids their rows, does."""
