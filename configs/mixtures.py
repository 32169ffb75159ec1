# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each stage reads, as weights (FOCUS Table 5). Every name is a folder that data_pipelines.prepare wrote.

The table names the sets of a stage and its examples in all, not each set's share; shares are then by size, and sets of
like size share alike. A set that is not there stops the run, unless config.data.allow_missing names it.
"""

# Stage II, 30M examples: LLaVA-150K has 150k; the rest is web captions, in equal halves as far as the paper tells.
STAGE2 = {"llava_instruct_150k": 0.15, "coyo": 14.9, "emova_pretrain": 14.9}


def sources(mixture: dict[str, float], root: str = "data") -> list[dict]:
    """config.data.sources of a mixture whose sets were prepared below `root`."""
    return [{"name": name, "path": f"{root}/{name}", "reader": "", "weight": w} for name, w in mixture.items()]
