# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1 with something left out: what each part of the tokenizer is worth.

    python -m focus_jax.train --config=configs/ablations.py:no_pixel_branch --workdir=gs://BUCKET/no_pixel_branch
    python -m focus_jax.train --config=configs/ablations.py:no_pixel_branch_tiny --workdir=runs/no_pixel_branch

no_hierarchical_encoder   the semantic branch reads the vision tower alone (the form `illume`)
no_pixel_branch           pictures have semantic codes alone; the decoder's pixel half is zero
no_semantic_branch        pictures have pixel codes alone; the decoder's semantic half is zero
single_resolution         the hierarchical encoder sees the images themselves, not their high-resolution copies

All else is configs/stage1_tokenizer.py, full or, with _tiny, tiny.
"""

from ml_collections import ConfigDict

from configs import models, stage1_tokenizer

ABLATIONS = {
    "no_hierarchical_encoder": {"form": "illume"},
    "no_pixel_branch": {"branches": ("semantic",)},
    "no_semantic_branch": {"branches": ("pixel",)},
    "single_resolution": {"high": 0},
}


def get_config(name: str = "") -> ConfigDict:
    """Args: name: of ABLATIONS, alone or followed by _tiny."""
    plain = name.removesuffix("_tiny")
    if plain not in ABLATIONS:
        raise ValueError(f"configs/ablations.py:{name}: expected :{', :'.join(ABLATIONS)}, or one of them with _tiny")
    size = "full" if plain == name else "tiny"
    tokenizer = models.tokenizer(size)
    tokenizer.update(ABLATIONS[plain])
    c = stage1_tokenizer.recipe(size, tokenizer)
    c.name = f"{plain}:{size}"
    return c
