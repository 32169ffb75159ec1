# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The tasks of `python -m focus_jax.infer`: each has HELP, DESCRIPTION, arguments(add) and run(args)."""
