# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Three models without parameters that pin down what evaluators call and what figures mean: one that knows the world's
truth, one that sees and says nothing, one that guesses."""

import numpy as np

from data_pipelines.world import clips, drawing, scenes
from data_pipelines.world.examples import GROUND
from data_pipelines.world.vocabulary import COLOURS, PRESETS
from focus_jax.evaluation.editing import instructed, meant
from focus_jax.evaluation.generation import described
from focus_jax.evaluation.protocol import Edited, EditedClip, Segments
from focus_jax.evaluation.questions import asked
from focus_jax.evaluation.segmentation import marked, said
from focus_jax.evaluation.video import named
from focus_jax.evaluation.video_edits import recoloured


def one(mask):
    """A mask as the only segment."""
    return Segments(mask.astype(np.int32), ("thing",), (1.0,))


class Oracle:
    """Knows the scene of a picture by its bytes and that of a caption or instruction by its text.

    config: the benchmark's, whose scenes it learns.
    """

    label = "oracle"
    redraws_under_masks = True

    def __init__(self, config):
        data = config.data
        self.config, self.side = config, config.side
        self.scenes = [scenes.scene(data.preset, data.split, data.first + i) for i in range(data.scenes)]
        self.by_bytes = {drawing.draw(s, self.side).picture.tobytes(): s for s in self.scenes}

    def reconstruct(self, images):
        return images.copy()

    def chat(self, images, questions):
        about = [asked(self.by_bytes[x.tobytes()], self.config.per_scene) for x in images]
        return [next(q.answer for q in qs if q.text == text) for qs, text in zip(about, questions)]

    def choose(self, images, questions, options):
        return [among.index(answer) for answer, among in zip(self.chat(images, questions), options)]

    def segment(self, images, prompts):
        return [self._segment(self.by_bytes[x.tobytes()], prompt) for x, prompt in zip(images, prompts)]

    def _segment(self, scene, prompt):
        drawn = drawing.draw(scene, self.side)
        if isinstance(prompt, list):
            names = (*(thing.shape for thing in scene.things), GROUND)
            ids = np.where(drawn.ids > 0, drawn.ids, len(names)).astype(np.int32)
            return Segments(ids, names, (1.0,) * len(names))
        if isinstance(prompt, str):
            known = said(scene, self.config.referring, self.config.reasoning)
            things = next(e.things for e in known if e.text == prompt)
        else:
            things = next(row.things for row in marked(0, scene, drawn) if np.array_equal(row.prompt, prompt))
        return one(np.isin(drawn.ids, [k + 1 for k in things]))

    def segment_video(self, frames, prompt):
        first = self.by_bytes[frames[0].tobytes()]
        clip = clips.clip(first.preset, first.split, first.index, len(frames))
        ids = clips.draw(clip, self.side)[1]
        if isinstance(prompt, str):
            expression = named(clip)
            assert expression.text == prompt
            return one(ids == expression.things[0] + 1)
        (at, marked_), count = prompt, int(prompt[1].max())
        numbers = np.zeros(ids.max() + 1, np.int32)  # of the prompt, for the things that it marks
        numbers[ids[at]] = marked_
        return Segments(numbers[ids], ("thing",) * count, (1.0,) * count)

    def generate(self, captions, *, height, width, seeds):
        known = {described(s).text: s for s in self.scenes}
        return np.stack([drawing.draw(known[text], height).picture for text in captions])

    def redraw(self, images, masks=None, *, seeds):
        return images.copy()

    def edit_video(self, frames, prompt, instruction, *, seed):
        first = self.by_bytes[frames[0].tobytes()]
        each, at, marked_ = recoloured(clips.clip(first.preset, first.split, first.index, len(frames)), self.side)
        assert at == prompt[0] and (marked_ == prompt[1]).all() and instruction == each[0].instruction
        masks = np.stack([drawing.draw(x.source, self.side).union(x.things) for x in each])
        return EditedClip(np.stack([drawing.draw(x.target, self.side).picture for x in each]), masks)

    def edit(self, images, instructions, regions=None, *, seeds):
        out = []
        for k, (x, text) in enumerate(zip(images, instructions)):
            made, hint = instructed(self.by_bytes[x.tobytes()], self.config.absent_every, self.side)
            assert made.instruction == text and (hint is None) == (regions[k] is None)
            out.append(
                (
                    drawing.draw(made.target, self.side).picture,
                    meant(made, self.side),
                    made.target == made.source,
                )
            )
        return Edited(*(np.stack(x) for x in zip(*out)))


class Blank:
    """Grey pictures, empty answers, empty masks; refuses nothing."""

    label = "blank"
    redraws_under_masks = True

    def reconstruct(self, images):
        return np.full_like(images, 128)

    def chat(self, images, questions):
        return [""] * len(questions)

    def choose(self, images, questions, options):
        return [0] * len(questions)

    def segment(self, images, prompts):
        return [Segments(np.zeros(images.shape[1:3], np.int32), (), ()) for _ in prompts]

    def segment_video(self, frames, prompt):
        count = int(prompt[1].max()) if isinstance(prompt, tuple) else 0
        return Segments(np.zeros(frames.shape[:3], np.int32), ("",) * count, (0.0,) * count)

    def generate(self, captions, *, height, width, seeds):
        return np.full((len(captions), height, width, 3), 128, np.uint8)

    def redraw(self, images, masks=None, *, seeds):
        return np.full_like(images, 128)

    def edit(self, images, instructions, regions=None, *, seeds):
        no = np.zeros(images.shape[:3], bool)
        return Edited(np.full_like(images, 128), no, no[:, 0, 0])

    def edit_video(self, frames, prompt, instruction, *, seed):
        return EditedClip(np.full_like(frames, 128), np.zeros(frames.shape[:3], bool))


class Random:
    """Answers drawn from the vocabulary, rectangles of any place and size, coins for refusals."""

    label = "random"
    redraws_under_masks = True

    def __init__(self, preset="easy", seed=0):
        p = PRESETS[preset]
        self.rng = np.random.default_rng(seed)
        self.words = (*p.shapes, *p.colours, *p.sizes, "yes", "no", "0", "1", "2", "3")

    def _rectangle(self, height, width):
        out = np.zeros((height, width), bool)
        top, bottom = sorted(self.rng.integers(0, height, 2))
        left, right = sorted(self.rng.integers(0, width, 2))
        out[top : bottom + 1, left : right + 1] = True
        return out

    def reconstruct(self, images):
        return self.rng.integers(0, 256, images.shape, np.uint8)

    def chat(self, images, questions):
        return [str(self.rng.choice(self.words)) for _ in questions]

    def choose(self, images, questions, options):
        return [int(self.rng.integers(len(among))) for among in options]

    def segment(self, images, prompts):
        return [self._segment(images.shape[1:3], prompt) for prompt in prompts]

    def _segment(self, shape, prompt):
        if not isinstance(prompt, list):
            return one(self._rectangle(*shape))
        ids = np.zeros(shape, np.int32)
        names = tuple(self.rng.choice(prompt, 4).tolist())
        for k in range(4):
            ids[self._rectangle(*shape)] = k + 1
        return Segments(ids, names, (0.5,) * 4)

    def segment_video(self, frames, prompt):
        count = int(prompt[1].max()) if isinstance(prompt, tuple) else 1
        ids = np.zeros(frames.shape[:3], np.int32)
        for frame in ids:
            for k in range(count):
                frame[self._rectangle(*frame.shape)] = k + 1
        return Segments(ids, ("",) * count, (0.5,) * count)

    def generate(self, captions, *, height, width, seeds):
        out = np.full((len(captions), height, width, 3), 236, np.uint8)
        for x in out:
            x[self._rectangle(height, width)] = COLOURS[self.rng.choice(list(COLOURS))]
        return out

    def redraw(self, images, masks=None, *, seeds):
        return self.reconstruct(images)

    def edit(self, images, instructions, regions=None, *, seeds):
        masks = np.stack([self._rectangle(*images.shape[1:3]) for _ in images])
        colour = np.array(COLOURS[self.rng.choice(list(COLOURS))], np.uint8)
        refused = self.rng.random(len(images)) < 0.5
        return Edited(np.where((masks & ~refused[:, None, None])[..., None], colour, images), masks, refused)

    def edit_video(self, frames, prompt, instruction, *, seed):
        found = self.edit(frames, [instruction] * len(frames), seeds=[seed] * len(frames))
        return EditedClip(found.images, found.masks)
