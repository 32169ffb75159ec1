# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits on the files of their authors (contract 8): Emu Edit's test set, and pairs of InstructPix2Pix and MagicBrush.

By the protocol of Emu Edit (arXiv 2311.10089, section 6): CLIP-I and DINO hold what was made against the source, CLIP-T
against the caption of what should be, CLIP-DIR how the picture went against how the caption did. An unedited source so
has 1, 1 and a CLIP-DIR of 0. Where files have targets, the same against these.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_pipelines import transforms
from data_pipelines.example import Example
from data_pipelines.readers.edits import Edits
from data_pipelines.readers.instruct_pix2pix import InstructPix2Pix
from focus_jax.errors import UserError
from focus_jax.evaluation import answering, files, held_out, networks
from focus_jax.evaluation.figures import Figure, mean
from focus_jax.evaluation.protocol import Checked

Pictures = Sequence[np.ndarray]  # uint8 [H, W, 3] of any size each


@dataclasses.dataclass(frozen=True)
class Pair:
    """source, target: uint8 [H, W, 3], target None where the files have none. before, after: captions, "" for none.
    group: the kind of edit."""

    name: str
    source: np.ndarray
    instruction: str
    before: str = ""
    after: str = ""
    target: np.ndarray | None = None
    group: str = ""


def emu_edit(data: Any) -> list[Pair]:
    """facebook/emu_edit_test_set as parquet: instruction, image, task, input_caption, output_caption."""
    needed = ("instruction", "image", "task", "input_caption", "output_caption")
    out = []
    for name, row in files.parquet(data, needed):
        said, image, task, before, after = files.fields(row, needed, name)
        picture = np.asarray(transforms.decode(files.cell(image, name), name))
        out.append(Pair(name, picture, str(said), str(before), str(after), group=str(task)))
    return out


def _pairs(examples: Iterable[Example]) -> list[Pair]:
    picture = lambda encoded, name: np.asarray(transforms.decode(encoded.data, name))
    return [
        Pair(e.id, picture(e.images[0], e.id), e.instruction, target=picture(e.target, e.id)) for e in examples
    ]  # fmt: skip


def instruct_pix2pix(data: Any) -> list[Pair]:
    """A folder as `prepare instruct_pix2pix` reads it; captions are input and output of prompt.json, where there."""
    out = []
    for pair in _pairs(files.examples(InstructPix2Pix(data.path))):
        file = epath.Path(data.path) / pair.name.rpartition("/")[0] / "prompt.json"
        said = json.loads(file.read_text())
        captions = {"before": str(said.get("input", "")), "after": str(said.get("output", ""))}
        out.append(dataclasses.replace(pair, **captions))
    return out


def magicbrush(data: Any) -> list[Pair]:
    """Tables as `prepare edits --layout=magicbrush` reads them."""
    return _pairs(files.examples(Edits(data.path, layout="magicbrush", images=data.get("images", ""))))


BENCHMARKS: dict[str, Callable[[Any], list[Pair]]] = {f.__name__: f for f in (emu_edit, instruct_pix2pix, magicbrush)}


class Evaluator:
    """Figures, each BENCHMARK_NAME: l1, mean difference of what was made from the source, 0 to 1, and refused, the
    share in which nothing was done; with config.clip clip_i, with config.dino dino; with config.clip_tokenizer and
    captions clip_t and clip_dir; with targets target_l1, target_clip_i and target_dino. Beside them the unedited
    source's."""

    def __init__(self, config: Any):
        self.config, self.name = config, config.benchmark
        files.check(config, BENCHMARKS, batch_size=1, limit=0, shown=0)
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        return {
            "clip": "ViT-L/14, side 224, middle crop",
            "dino": "ViT-S/16",
            "seeds": "config.seed + number of the row",
        }

    def run(self, model: Any, data: Sequence[Pair] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: pairs, default those of the files that the config names."""
        c = self.config
        pairs = (BENCHMARKS[c.benchmark](c.data) if data is None else list(data))[: c.limit or None]
        if not pairs:
            raise UserError(f"config.data.path: {c.data.path} has no edit, expected some.")
        made, masks, refused = self._made(Checked(model, self.name, c.batch_size), pairs)
        sources = [pair.source for pair in pairs]
        found, same = self._figures(pairs, sources, made), self._figures(pairs, sources, sources)
        self.baselines = {f"{self.name}_{name}": {"unedited source": float(np.mean(x))} for name, x in same.items()}
        out = {f"{self.name}_{name}": mean(x) for name, x in found.items()}
        groups = [answering.slug(pair.group) for pair in pairs]
        for group in dict.fromkeys(groups) if len(set(groups)) > 1 else ():
            rows = [i for i, of in enumerate(groups) if of == group]
            out |= {f"{self.name}_{group}_{name}": mean(x[rows]) for name, x in found.items()}
        out[f"{self.name}_refused"] = mean(refused.astype(float))
        cells = []
        for i in held_out.spread(len(pairs), c.shown):
            verdict = "refused" if refused[i] else f"{found['l1'][i]:.3f}"
            cells.append((sources[i], pairs[i].instruction, held_out.overlay(sources[i], masks[i]), made[i], verdict))
        self.galleries = [held_out.gallery("Edits", ("source", "instruction", "mask", "made", "l1"), cells)]
        return out

    def _made(self, checked: Checked, pairs: Sequence[Pair]) -> tuple[list[Any], list[Any], np.ndarray]:
        """(pictures, masks, whether nothing was done); pictures of one size go together."""
        c = self.config
        options = held_out.edit_options(c)
        sizes: dict[tuple[int, int], list[int]] = {}
        for i, pair in enumerate(pairs):
            sizes.setdefault(pair.source.shape[:2], []).append(i)
        made, masks, refused = [None] * len(pairs), [None] * len(pairs), np.zeros(len(pairs), bool)
        for rows in sizes.values():
            given = np.stack([pairs[i].source for i in rows])
            said, seeds = [pairs[i].instruction for i in rows], [c.seed + i for i in rows]
            done = checked.edit(given, said, seeds=seeds, **options)
            for k, i in enumerate(rows):
                made[i], masks[i], refused[i] = done.images[k], done.masks[k], done.refused[k]
        return made, masks, refused

    def _figures(self, pairs: Sequence[Pair], sources: Pictures, made: Pictures) -> dict[str, np.ndarray]:
        """Values of each pair by name."""
        c = self.config
        l1 = lambda a, b: np.array([np.abs(x.astype(float) - y).mean() / 255 for x, y in zip(a, b)])
        out = {"l1": l1(made, sources)}
        targets = [pair.target for pair in pairs if pair.target is not None]
        targeted = len(targets) == len(pairs)
        if targeted:
            out["target_l1"] = l1(made, targets)
        for name, features in (("clip_i", networks.clip_features), ("dino", networks.dino_features)):
            if not (file := c[name.removesuffix("_i")]):
                continue
            before, after = (features(x, file, c.batch_size) for x in (sources, made))
            out[name] = np.sum(before * after, axis=-1)
            if targeted:
                out[f"target_{name}"] = np.sum(features(targets, file, c.batch_size) * after, axis=-1)
            if name == "clip_i" and c.clip_tokenizer and all(pair.before and pair.after for pair in pairs):
                words = [[getattr(pair, field) for pair in pairs] for field in ("before", "after")]
                ids = [networks.clip_ids(texts, c.clip_tokenizer) for texts in words]
                said = [networks.clip_text_features(x, file, c.batch_size) for x in ids]
                out["clip_t"] = np.sum(after * said[1], axis=-1)
                out["clip_dir"] = direction(after - before, said[1] - said[0])
        return out


def direction(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines [N] of rows, 0 where one of them is nothing."""
    size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.where(size > 1e-12, np.sum(a * b, axis=-1) / np.maximum(size, 1e-12), 0.0)
