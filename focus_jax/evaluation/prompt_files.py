# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures drawn from prompts of official files (contract 8): MJHQ-30K, GenEval and GenAI-Bench.

What judges is the user's to give: an Inception network for MJHQ's FID, a detector for GenEval, a scorer for
GenAI-Bench. Without the last two the model judges what it drew, and the protocol says so.
"""

import collections
import dataclasses
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data_pipelines import transforms
from data_pipelines.readers import records
from focus_jax.errors import UserError
from focus_jax.evaluation import answering, files, geneval, held_out, networks
from focus_jax.evaluation.figures import Figure, mean
from focus_jax.evaluation.protocol import Checked

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'  # VQAScore's (arXiv 2404.01291)
Measured = tuple[dict[str, Figure], list[str]]  # and what is said of each picture
Drawn = Iterable[tuple[Sequence[int], np.ndarray]]  # numbers of some pictures in their order, uint8 [B, H, W, 3]
Scorer = Callable[[np.ndarray, Sequence[str]], np.ndarray]  # uint8 [B, H, W, 3], texts -> [B] from 0 to 1


@dataclasses.dataclass(frozen=True)
class Prompt:
    """groups: what figures are given for. asked: what GenEval asks of the picture. picture: the file of MJHQ's own."""

    name: str
    text: str
    groups: tuple[str, ...] = ()
    asked: dict[str, Any] = dataclasses.field(default_factory=dict)
    picture: Any = None


def mjhq(data: Any) -> list[Prompt]:
    """meta_data.json {ID: {category, prompt}}; its pictures CATEGORY/ID.jpg below config.data.images."""
    file = files.named(data, "meta_data.json")
    out = []
    for number, row in _objects(file, dict).items():
        category, text = files.fields(row, ("category", "prompt"), f"{file}: {number}")
        picture = files.in_images(data, f"{category}/{number}.jpg", f"{file}: {number}")
        out.append(Prompt(number, str(text), (str(category),), picture=picture))
    return out


def geneval_prompts(data: Any) -> list[Prompt]:
    """evaluation_metadata.jsonl: tag, include, exclude, prompt."""
    out = []
    for name, row in files.listed(files.named(data, "evaluation_metadata.jsonl")):
        tag, text, _ = files.fields(row, ("tag", "prompt", "include"), name)
        out.append(Prompt(name, str(text), (str(tag),), asked=row))
    return out


def genai_bench(data: Any) -> list[Prompt]:
    """genai_image.json {ID: {prompt}} and genai_skills.json {skill: [number]}."""
    texts, skills = (
        _objects(files.named(data, f"genai_{name}.json"), kind) for name, kind in (("image", dict), ("skills", list))
    )
    of: dict[int, list[str]] = collections.defaultdict(list)
    for skill, numbers in skills.items():
        for number in numbers:
            of[int(number)].append(skill)
    each = lambda number, row: files.fields(row, ("prompt",), number)[0]
    return [Prompt(n, str(each(n, row)), tuple(of[int(n)])) for n, row in texts.items()]


LAYOUTS = {"mjhq": mjhq, "geneval": geneval_prompts, "genai_bench": genai_bench}


def _objects(file: Any, of: type) -> dict[str, Any]:
    """A JSON object of fields that are all of a type."""
    content = records.parse(file.read_bytes(), str(file))
    if wrong := [name for name, x in content.items() if not isinstance(x, of)]:
        raise UserError(f"{file}: {wrong[0]} is {type(content[wrong[0]]).__name__}, expected {of.__name__}.")
    return content


def given(path: str, field: str) -> Any:
    """What "package.module:name" makes when it is called. Raises: UserError."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{field}: {path!r} cannot be made ({error}), expected package.module:function.") from error


def own_scorer(checked: Checked) -> Scorer:
    """How likely the model's own answer is yes."""

    def score(pictures: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        options = [["Yes", "No"]] * len(texts)
        found = checked.likelihoods(pictures, [QUESTION.format(text) for text in texts], options)
        return np.array([np.exp(x[0]) / np.exp(x).sum() for x in found])

    return score


class Evaluator:
    """Figures. mjhq: mjhq_fid with config.inception, of prompts' pictures against MJHQ's own, mjhq_clip_t with
    config.clip and clip_tokenizer. geneval: geneval_TAG, the share of pictures that are as asked, and geneval_overall,
    the mean over tags. genai_bench: genai_bench_SKILL and genai_bench_overall, over all prompts that have a skill."""

    def __init__(self, config: Any):
        self.config, self.name = config, config.benchmark
        files.check(config, LAYOUTS, height=1, width=1, batch_size=1, limit=0, shown=0, samples=1)
        self.baselines: dict[str, dict[str, float]] = {}
        self.galleries: list[held_out.Gallery] = []

    @property
    def protocol(self) -> dict[str, Any]:
        """Of the protocol file."""
        c, own = self.config, "the model's own"
        judges = {
            "mjhq": {"reference": "MJHQ's pictures of the same prompts, resized to the size that is drawn"},
            "geneval": {
                "detector": c.get("detector") or f"{own} mask predictor, not GenEval's",
                "colours": "CLIP" if c.clip and c.clip_tokenizer else f"{own} answers, not CLIP's",
            },
            "genai_bench": {"scorer": c.get("scorer") or f"{own} answers, not CLIP-FlanT5's", "question": QUESTION},
        }
        return judges[c.benchmark] | {"seeds": "config.seed + number of the prompt * samples + number of the sample"}

    def run(self, model: Any, data: Sequence[Prompt] | None = None) -> dict[str, Figure]:
        """model: from focus_jax.load; data: prompts, default those of the files that the config names."""
        c, self._checked = self.config, Checked(model, self.name, self.config.batch_size)
        if c.benchmark == "mjhq" and not (c.inception or (c.clip and c.clip_tokenizer)):
            raise UserError("config.inception: is empty, expected weights to measure mjhq, or clip with its tokenizer.")
        prompts = (LAYOUTS[c.benchmark](c.data) if data is None else list(data))[: c.limit or None]
        if not prompts:
            raise UserError(f"config.data.path: {c.data.path} has no prompt, expected some.")
        of = np.repeat(np.arange(len(prompts)), c.samples)
        shown = dict.fromkeys(i * c.samples for i in held_out.spread(len(prompts), c.shown))
        measure = {"mjhq": self._mjhq, "geneval": self._geneval, "genai_bench": self._genai}[c.benchmark]
        out, notes = measure(prompts, of, self._drawn([prompts[i].text for i in of], shown))
        cells = [(prompts[of[i]].text, picture, notes[i]) for i, picture in shown.items()]
        self.galleries = [held_out.gallery("Drawn from prompts", ("prompt", "drawn", "verdict"), cells)]
        return out

    def _drawn(self, texts: Sequence[str], shown: dict[int, Any]) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Pictures of texts, batch_size of them at a time: no more are held than these and, under their numbers, those
        that are shown."""
        c, options = self.config, held_out.generation_options(self.config)
        for rows in held_out.chunks(range(len(texts)), c.batch_size):
            some, seeds = [texts[i] for i in rows], [c.seed + i for i in rows]
            drawn = self._checked.generate(some, height=c.height, width=c.width, seeds=seeds, **options)
            shown.update((i, picture.copy()) for i, picture in zip(rows, drawn) if i in shown)
            yield rows, drawn

    def _mjhq(self, prompts: Sequence[Prompt], of: np.ndarray, drawn: Drawn) -> Measured:
        c, out = self.config, dict[str, Figure]()
        judges = {"fid": networks.inception_network(c.inception, c.batch_size)} if c.inception else {}
        if by_words := bool(c.clip and c.clip_tokenizer):
            judges["clip"] = networks.clip_network(c.clip, c.batch_size)
        each = [{name: features(pictures) for name, features in judges.items()} for _, pictures in drawn]
        ours = {name: np.concatenate([x[name] for x in each]) for name in judges}
        if c.inception:
            size = c.height, c.width
            real = lambda p: np.asarray(transforms.resized(transforms.decode(p.picture.read_bytes(), p.name), size))
            some = held_out.chunks(prompts, c.batch_size)
            theirs = np.concatenate([judges["fid"](np.stack([real(p) for p in chunk])) for chunk in some])
            out["mjhq_fid"] = (networks.frechet(ours["fid"], theirs), len(of), 0.0)
            value, error = networks.kid(ours["fid"], theirs)
            out["mjhq_kid"] = (value, len(of), error)
        if by_words:
            ids = networks.clip_ids([p.text for p in prompts], c.clip_tokenizer)
            words = networks.clip_text_features(ids, c.clip, c.batch_size)
            out["mjhq_clip_t"] = mean(np.sum(ours["clip"] * words[of], axis=-1))
        return out, [""] * len(of)

    def _geneval(self, prompts: Sequence[Prompt], of: np.ndarray, drawn: Drawn) -> Measured:
        c, single = self.config, Checked(self._checked.model, self.name, 1)
        detect = given(c.detector, "config.detector") if c.detector else geneval.own_detector(single)
        if c.clip and c.clip_tokenizer:
            colour = geneval.colours_by_clip(c.clip, c.clip_tokenizer, c.batch_size)
        else:
            colour = geneval.colours_by_question(single)
        named = lambda asked: [want["class"] for field in ("include", "exclude") for want in asked.get(field, [])]
        classes = list(dict.fromkeys(name for prompt in prompts for name in named(prompt.asked)))
        notes = []
        for i, picture in ((of[k], picture) for rows, pictures in drawn for k, picture in zip(rows, pictures)):
            (tag,) = prompts[i].groups
            found = geneval.kept(detect(picture, classes), tag)
            notes.append(geneval.failed(picture, prompts[i].asked, found, colour))
        return self._by_group(prompts, of, np.array([not note for note in notes], float), by_tag=True), notes

    def _genai(self, prompts: Sequence[Prompt], of: np.ndarray, drawn: Drawn) -> Measured:
        c = self.config
        score = given(c.scorer, "config.scorer") if c.scorer else own_scorer(self._checked)
        texts = [prompts[i].text for i in of]
        values = np.concatenate([np.asarray(score(pictures, [texts[i] for i in rows])) for rows, pictures in drawn])
        if values.shape != (len(of),) or not ((values >= 0) & (values <= 1)).all():
            raise UserError(f"config.scorer: gave {list(values.shape)}, expected a number from 0 to 1 of each picture.")
        return self._by_group(prompts, of, values, by_tag=False), [f"{value:.2f}" for value in values]

    def _by_group(
        self, prompts: Sequence[Prompt], of: np.ndarray, values: np.ndarray, by_tag: bool
    ) -> dict[str, Figure]:
        """Means over pictures of each group, of prompts that have some, and over all; by_tag: the mean over groups."""
        each = np.array([values[of == i].mean() for i in range(len(prompts))])
        groups = list(dict.fromkeys(group for prompt in prompts for group in prompt.groups))
        rows = {g: [i for i, prompt in enumerate(prompts) if g in prompt.groups] for g in groups}
        found = {f"{self.name}_{answering.slug(g)}": mean(each[at]) for g, at in rows.items()}
        if not found:
            raise UserError(f"config.data.path: {self.config.data.path} gives its prompts no group, expected some.")
        if by_tag:
            whole = list(found.values())
            error = sum(e**2 for _, _, e in whole) ** 0.5 / len(whole)
            total = (float(np.mean([value for value, _, _ in whole])), len(prompts), error)
        else:
            total = mean(each[[i for i, prompt in enumerate(prompts) if prompt.groups]])
        return {f"{self.name}_overall": total} | found
