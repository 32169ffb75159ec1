# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1's tokenizer with numbers so small that compiling it is quick; every network of it is there."""

SIZE, HIGH, STRIDE = 16, 32, 4  # pixels of X_L and X_H, and of a pixel code; a semantic code covers 8


def shrink(config) -> None:
    """Changes config.model.tokenizer in place; its streams get pictures of SIZE and HIGH."""
    tokenizer = config.model.tokenizer
    tokenizer.high, tokenizer.semantic_dim = HIGH, 4
    coder = dict(blocks=1, attention_levels=(1,))
    tokenizer.pixel.update(dict(patch=2, groups=2, codes=64, code_block=32, code_dim=4))
    tokenizer.pixel.update(encoder=dict(widths=(8, 8), **coder), decoder=dict(widths=(8, 16), **coder))
    tokenizer.vit.update(dict(depth=1, width=8, heads=2, patch=4, out=8))
    tokenizer.convnext.update(dict(widths=(4, 4, 8, 8), depths=(1, 1, 1, 1)))
    tokenizer.semantic.update(dict(depth=1, width=8, heads=2, codes=32, code_block=32))
    tokenizer.fusion.update(dict(width=8, heads=2))
    for phase in config.data.phases:
        for stream in phase["streams"]:
            stream |= {"height": SIZE, "width": SIZE, "high": HIGH}
