# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""How well the tokenizer gives pictures back (contract 8): photographs, or scenes of the world and what of them its
checker then reads. With config.decoder the same of what the diffusion decoder draws from the tokenizer's codes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from skimage.metrics import structural_similarity

from data_pipelines import prepare
from data_pipelines import rows as rows_lib
from data_pipelines.shards import Shards
from data_pipelines.world import checker, scores
from data_pipelines.world.examples import example
from data_pipelines.world.scenes import Scene, scene
from focus_jax.errors import UserError
from focus_jax.evaluation import held_out, networks, standins
from focus_jax.evaluation.figures import Figure, bootstrapped, clustered, mean, psnr, sums_by
from focus_jax.evaluation.protocol import Checked
from focus_jax.inference.diffusion import Options
from focus_jax.models.semantic_branch import cosine
from focus_jax.ops.sampling import bilinear
from focus_jax.training.metrics import histogram_figures

DECODERS = ("", "diffusion")  # what draws: the tokenizer's own decoder, or that of stage 1b


def pictures(config: Any, high: int = 0) -> dict[str, np.ndarray]:
    """image uint8 [N, H, W, 3], and high, the same at a long edge of so many pixels unless that is 0: the split's first
    `limit` pictures, centre crops of the bucket. Raises: DataError."""
    source = dict(config.data)
    prepare.ensure_prepared(source)
    shards = Shards(source["path"], source["split"], (config.height, config.width), name=source["name"])
    count = min(len(shards), config.limit)
    if not count:
        raise UserError(
            f"config.data: {source['path']} has no {source['split']} pictures for {config.height}x{config.width}; "
            "set config.data.split, config.height and config.width to what was prepared."
        )
    stream = dict(shape_class="picture", height=config.height, width=config.width, high=high)
    found = [rows_lib.row(shards[i], stream) for i in range(count)]
    return {name: np.stack([row[name] for row in found]) for name in found[0]}


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM of each picture with the 11-tap Gaussian window of Wang et al. 2004, mean over channels."""
    options = dict(channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return np.array([structural_similarity(x, y, **options) for x, y in zip(a, b)])


def drawn(scenes: Sequence[Scene], side: int, high: int) -> dict[str, np.ndarray]:
    """Pictures drawn at `side` and, unless it is 0, at `high` pixels, with the objects' labels and boxes (rows.py)."""
    stream = dict(shape_class="objects", height=side, width=side)
    found = [rows_lib.row(example(s, ("objects",), side), stream) for s in scenes]
    out = {name: np.stack([row[name] for row in found]) for name in found[0]}
    return out | ({"high": held_out.pictures(scenes, high)} if high else {})


class Features:
    """What the semantic codes of some pictures say, beside what they stand for.

    cosine: [N], of the two, a mean over positions. With boxes: objects, ([M, C], [M, C]), decoded and target at the
    objects' centres; labels [M, attributes]; scene [M], the picture of each object.
    """

    def __init__(self, checked: Checked, arrays: Mapping[str, np.ndarray]):
        images = arrays["image"]
        cosines, units, sums, at = [], [], [], []
        boxes = arrays.get("boxes")
        for rows, decoded, target in checked.semantic_features(images, arrays.get("high")):
            cosines.append(np.asarray(cosine(decoded, target)).mean(axis=(1, 2)))
            units.append((target / np.linalg.norm(target, axis=-1, keepdims=True)).mean(axis=(1, 2)))
            sums.append(target.mean(axis=(1, 2)))
            if boxes is not None:
                points = jnp.asarray(standins.centres(boxes[rows]))
                at.append([np.asarray(bilinear(x, points)) for x in (decoded, target)])
        self.cosine, self._units, self._means = (np.concatenate(x) for x in (cosines, units, sums))
        if boxes is not None:
            there = arrays["labels"][:, :, 0] >= 0
            self.objects = tuple(np.concatenate(x)[there] for x in zip(*at))
            self.labels, self.scene = arrays["labels"][there], np.nonzero(there)[0]

    def cosine_of_mean(self) -> np.ndarray:
        """The same cosine [N] for one constant vector, the mean of all targets."""
        constant = self._means.mean(axis=0)
        return self._units @ (constant / np.linalg.norm(constant))


class Evaluator:
    """Figures: psnr and ssim (means over pictures), psnr_of_mean_picture (every picture replaced by their mean, what a
    model that ignores its input can reach), perceptual_random or lpips; rfid and rkid where config.inception names
    weights, clip_similarity and dino_similarity (cosines of picture and reconstruction) where config.clip and .dino do;
    of a model with codes BRANCH_codebook_usage and _perplexity; with a semantic branch semantic_cosine, of its decoded
    features with the frozen tower's, and mean_feature_cosine, of one constant vector, the mean feature.

    On scenes of the world also readback_NAME for the names of scores.readback: what the checker reads off the
    reconstructions, beside what it reads off the originals; and how well a linear probe names attributes of objects
    from decoded semantic features: probe_ATTRIBUTE, and probe_kept, what the attribute that suffers most keeps of the
    share that the same probe names from the frozen tower's features.

    With config.decoder = "diffusion" pictures are drawn by the diffusion decoder, and figures are those of pictures
    alone, from psnr to dino_similarity and readback_NAME, all called diffusion_FIGURE; beside each stands the same of
    the tokenizer's own decoder."""

    def __init__(self, config: Any):
        self.config = config
        if config.decoder not in DECODERS or config.seed < 0:
            raise UserError(
                f"config.decoder: {config.decoder!r} with seed {config.seed}, expected '' (the tokenizer's own) or "
                "'diffusion', and a seed of at least 0."
            )
        self.world = "side" in config  # configs/eval.py: pictures drawn at a side, or prepared for a bucket
        if self.world:
            held_out.check(config)
            if config.probe_scenes < 2:
                raise UserError(f"config.probe_scenes: expected at least 2, found {config.probe_scenes}.")
        elif config.data.reader == "world" or config.limit < 1 or config.batch_size < 1 or config.shown < 0:
            raise UserError(
                "config: expected limit and batch_size of at least 1, shown of at least 0 and a reader of prepared "
                "pictures; the world is :world_reconstruction."
            )
        self.name = f"{config.decoder}_" * bool(config.decoder) + "world_" * self.world + "reconstruction"
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c, told = self.config, dict[str, Any]()
        if c.decoder:
            told["drawing"] = dataclasses.asdict(Options(**c.drawing.to_dict())) | {"seed": c.seed}
        elif self.world:
            told["probe"] = {"split": "train", "scenes": c.probe_scenes, **standins.PROTOCOL}
        return held_out.protocol(c, **told) if self.world else told

    def run(self, model: Any, data: np.ndarray | Sequence[Scene] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: uint8 [N, H, W, 3] or scenes, default what the config names."""
        c, checked = self.config, Checked(model, self.name, self.config.batch_size)
        high = model.high if checked.can("encode") else 0
        scenes = (held_out.scenes_of(c) if data is None else list(data)) if self.world else None
        if scenes is not None:
            arrays = drawn(scenes, c.side, high)
        else:
            arrays = pictures(c, high) if data is None else {"image": np.asarray(data)}
        images, codes = arrays["image"], {}
        if checked.can("encode") or c.decoder:
            codes = checked.encode(images, arrays.get("high"))
            given_back = checked.decode(codes, images.shape[1:3])
        else:
            given_back = checked.reconstruct(images)
        if c.decoder:
            return self._diffused(checked, scenes, images, codes, given_back)
        average = np.broadcast_to(images.mean(axis=0), images.shape)
        out = self._pictures(images, given_back) | {"psnr_of_mean_picture": mean(psnr(images, average))}
        for name, indices in codes.items():
            counts = np.bincount(indices.reshape(-1), minlength=model.config.model.tokenizer[name].codes)
            usage = histogram_figures(f"{name}_codebook", counts)
            out |= {k: (v, len(images), 0.0) for k, v in usage.items()}
        self.baselines = {"psnr": {"mean picture": out["psnr_of_mean_picture"][0]}}
        if "semantic" in codes:
            features = Features(checked, arrays)
            out |= {"semantic_cosine": mean(features.cosine), "mean_feature_cosine": mean(features.cosine_of_mean())}
            self.baselines["semantic_cosine"] = {"mean feature": out["mean_feature_cosine"][0]}
            if scenes is not None:
                train = [scene(c.data.preset, "train", i) for i in range(c.probe_scenes)]
                out |= self._probe(Features(checked, drawn(train, c.side, high)), features)
        notes = [""] * len(images)
        if scenes is not None:
            found, notes = readback(scenes, given_back)
            original, _ = readback(scenes, images)
            out |= found
            self.baselines |= {k: {"of the originals": v[0]} for k, v in original.items()}
        rows = [(images[i], given_back[i], notes[i]) for i in held_out.spread(len(images), c.shown)]
        columns = ("original", "reconstruction", "read back")
        if scenes is None:
            columns, rows = columns[:2], [row[:2] for row in rows]
        self.galleries = [held_out.gallery("Reconstructions", columns, rows)]
        return out

    def _diffused(
        self, checked: Checked, scenes: Sequence[Scene] | None, images: np.ndarray, codes: dict[str, np.ndarray],
        movq: np.ndarray,
    ) -> dict[str, Figure]:  # fmt: skip
        """Figures of what the diffusion decoder draws from the codes, beside those of movq, the tokenizer's own."""
        c = self.config
        seeds = held_out.seeds(c.seed, range(len(images)) if scenes is None else (s.index for s in scenes))
        made = checked.diffuse(codes, images.shape[1:3], seeds=seeds, **c.drawing.to_dict())
        ours, theirs = self._pictures(images, made), self._pictures(images, movq)
        if scenes is not None:
            ours, theirs = ours | readback(scenes, made)[0], theirs | readback(scenes, movq)[0]
        self.baselines = {f"diffusion_{name}": {"the tokenizer's decoder": theirs[name][0]} for name in ours}
        cells = [(images[i], movq[i], made[i]) for i in held_out.spread(len(images), c.shown)]
        of = "photographs" if scenes is None else "scenes"
        columns = ("original", "tokenizer's decoder", "diffusion")
        self.galleries = [held_out.gallery(f"Drawn from codes of {of}", columns, cells)]
        return {f"diffusion_{name}": figure for name, figure in ours.items()}

    def _probe(self, train: "Features", test: "Features") -> dict[str, Figure]:
        """Linear probes at the objects' centres, which learn on one set of scenes and are measured on another."""
        out, kept = {}, []
        for column, attribute in enumerate(standins.NAMES):
            y_train, y = train.labels[:, column], test.labels[:, column]
            if len(np.unique(y_train)) < 2:
                continue  # a preset with one material asks nothing
            hits = [standins.probe(a, y_train, b) == y for a, b in zip(train.objects, test.objects, strict=True)]
            out[f"probe_{attribute}"] = clustered(hits[0], test.scene)
            self.baselines[f"probe_{attribute}"] = {"from the tower's own features": float(hits[1].mean())}
            sums = sums_by(test.scene, np.stack(hits, axis=1).astype(float))
            kept.append(bootstrapped(sums, lambda s: s[..., 0] / s[..., 1], len(y)))
        return out | {"probe_kept": min(kept)}

    def _pictures(self, a: np.ndarray, b: np.ndarray) -> dict[str, Figure]:
        """Of pictures beside others: PSNR, SSIM, and distances in the features of other networks."""
        c = self.config
        out = {"psnr": mean(psnr(a, b)), "ssim": mean(ssim(a, b))}
        near = networks.perceptual_distance(a, b, c.perceptual, c.batch_size)
        out |= {"lpips" if c.perceptual else "perceptual_random": mean(near)}
        if c.inception:
            of_a, of_b = (networks.inception_features(x, c.inception, c.batch_size) for x in (a, b))
            value, error = networks.kid(of_a, of_b)
            out |= {"rfid": (networks.frechet(of_a, of_b), len(a), 0.0), "rkid": (value, len(a), error)}
        for name, features in (("clip", networks.clip_features), ("dino", networks.dino_features)):
            if c.get(name, ""):
                of_a, of_b = (features(x, c[name], c.batch_size) for x in (a, b))
                out[f"{name}_similarity"] = mean(np.sum(of_a * of_b, axis=-1))
        return out


def readback(scenes: Sequence[Scene], images: np.ndarray) -> tuple[dict[str, Figure], list[str]]:
    """Figures readback_NAME, and of every picture how many of its things are read right."""
    rows = [scores.readback(scene, checker.read(x, scene.preset)) for scene, x in zip(scenes, images)]
    right = [f"{row['object'][0] / 2:.0f} of {len(scene.things)} objects" for scene, row in zip(scenes, rows)]
    return {f"readback_{name}": figure for name, figure in scores.totals(rows).items()}, right
