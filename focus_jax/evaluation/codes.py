# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures as words: how well a model foretells the codes of pictures from captions, and whether what it writes is a
picture (contract 8). How good the pictures are is the benchmark generation's."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.world.scenes import Scene
from focus_jax.evaluation import held_out
from focus_jax.evaluation.figures import Figure, clustered
from focus_jax.evaluation.generation import described
from focus_jax.evaluation.protocol import Checked


class Evaluator(held_out.Benchmark):
    """Figures: image_token_ce, nats a code over both levels given the caption and the codes before it, and
    image_token_ce_LEVEL; wellformed_images, the share of captions to which a whole picture was written, greedily and
    under the structure mask. Baselines of the first: the same pictures under captions of other scenes."""

    name = "codes"

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return held_out.protocol(self.config, seed=self.config.seed, sampling="greedy, structure mask")

    def run(self, model: Any, data: Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: scenes, default what the config names."""
        c = self.config
        found = self.scenes(data)
        said = [described(scene).text for scene in found]
        checked, seeds, at = Checked(model, self.name, c.batch_size), held_out.seeds_of(c, found), range(len(found))
        images = held_out.pictures(found, c.side)
        costs = checked.code_costs(images, said)
        other = checked.code_costs(images, said[1:] + said[:1])
        written = checked.write_codes(said, height=c.side, width=c.side, seeds=seeds, temperature=0.0, guidance=1.0)
        out = {"image_token_ce": clustered(costs["all"], at)}
        out |= {f"image_token_ce_{level}": clustered(costs[level], at) for level in ("semantic", "pixel")}
        whole = [one.codes is not None and not one.problems for one in written]
        out["wellformed_images"] = clustered(np.array(whole, float), at)
        for name in out.keys() - {"wellformed_images"}:
            level = name.removeprefix("image_token_ce").strip("_") or "all"
            self.baselines[name] = {"caption of another scene": float(np.mean(other[level]))}
        chosen = held_out.spread(len(found), c.shown)
        drawn = checked.generate(
            [said[i] for i in chosen], height=c.side, width=c.side, seeds=[seeds[i] for i in chosen]
        )
        cells = [(said[i], drawn[k], images[i]) for k, i in enumerate(chosen)]
        self.galleries = [held_out.gallery("Written from captions", ("caption", "drawn", "its scene"), cells)]
        return out
