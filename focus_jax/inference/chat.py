# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers about pictures: rows of questions at once, options weighed, and a conversation that goes on turn by turn.

A picture of any size goes whole into the bucket of the nearest aspect ratio; further pictures of a conversation go into
the bucket of the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data_pipelines import language as rows
from data_pipelines import settings, transforms
from data_pipelines.buckets import Bucket
from data_pipelines.example import Turn
from focus_jax.errors import UserError
from focus_jax.inference import decode
from focus_jax.inference.conversation import LEAST, Conversation, Spoken
from focus_jax.inference.structure import Structure, answers, bucket
from focus_jax.sequence import prompts
from focus_jax.sequence.layout import Laid, Sizes, Writer
from focus_jax.sequence.vocabulary import END

LIMIT = 256  # ids of an answer at most

Pictures = Sequence[Image.Image]


class Chat:
    """What a model of a stage with sequences says. Made by focus_jax.Model."""

    def __init__(self, model: Any):
        self.model, self.stage = model, model.stage
        self.streams = _streams(model)
        sequence = self.streams[0]["sequence"]
        self.vocabulary, self.tokenizer = rows.writing(sequence)
        self.structure: Structure = answers(self.vocabulary)
        self._embed, self._beside = jax.jit(self.stage.embeddings), jax.jit(self.stage.beside_codes)

    # -------------------------------------------------------------------------------------------------- what is read
    def sizes(self, bucket: Bucket) -> Sizes:
        """What a picture of a bucket brings to a sequence."""
        found = next((s for s in self.streams if (s["height"], s["width"]) == bucket), self.streams[0])
        return rows.sizes(found["sequence"])

    def bucket(self, height: int, width: int, name: str = "image") -> Bucket:
        """Where a picture of height x width pixels goes. Raises: DataError for one too small or too long."""
        among = list(dict.fromkeys((s["height"], s["width"]) for s in self.streams if s["height"]))
        if not among:
            raise UserError(f"{self.model.label}: this model was shown no picture, expected words alone.")
        return transforms.fit(height, width, among, name).bucket

    def pictures(self, images: Pictures, bucket: Bucket, name: str = "image") -> dict[str, np.ndarray]:
        """image uint8 [n, H, W, 3] and, where the tokenizer reads such, high [n, H', W', 3]: whole pictures, padded."""
        fits = [transforms.fit(image.height, image.width, [bucket], name) for image in images]
        found = {"image": np.stack([fit.canvas(image) for fit, image in zip(fits, images)])}
        if self.model.high:
            found["high"] = np.stack([fit.canvas(image, self.model.high) for fit, image in zip(fits, images)])
        return found

    def ask(self, bucket: Bucket, turns: Sequence[Turn]) -> Laid:
        """A conversation whose last turn is to be answered."""
        return prompts.chat(Writer(self.vocabulary, self.tokenizer, self.sizes(bucket)), turns, open_end=True).done()

    def read(self, conversation: Conversation, laid: Sequence[Laid], arrays: Mapping[str, np.ndarray]) -> None:
        """Gives each row of a conversation what was laid out for it.

        arrays: what the sequences show, rows first: image [B, n, H, W, 3] and high; bags of text slots.
        """
        batch = padded(laid, ("ids", "roles", "features"))
        with self.model.scope():
            x = self.embed(batch | dict(arrays))
            words = [[i for i in one.ids.tolist() if i in self.vocabulary.text] for one in laid]
            conversation.read(x, [len(one) for one in laid], ids=words)

    def embed(self, batch: Mapping[str, np.ndarray]) -> jax.Array:
        """Rows as the language model reads them, [B, T, D]; inside the model's scope."""
        return self._embed(self.model.params, jax.tree.map(jnp.asarray, dict(batch)))

    def beside_codes(self, shown: Mapping[str, np.ndarray]) -> jax.Array | None:
        """What is read beside the codes of pictures that are made of those shown; inside the model's scope."""
        return self._beside(self.model.params, jax.tree.map(jnp.asarray, dict(shown)))

    def begin(self, count: int, **options: Any) -> Conversation:
        """`count` conversations in which nothing was read; options: of Conversation."""
        llm = self.stage.focus.llm
        with self.model.scope():
            return Conversation(llm, self.model.params["llm"], self.vocabulary, self.tokenizer, count, **options)

    # ---------------------------------------------------------------------------------------------- rows of questions
    def say(
        self,
        laid: Sequence[Laid],
        arrays: Mapping[str, np.ndarray],
        *,
        limit: int = LIMIT,
        sampling: decode.Sampling | None = None,
        stops: Sequence[str] = (),
        structure: Structure | None = None,
    ) -> list[Spoken]:
        """What the model says to each of the sequences; arrays as in `read`; structure: default that of answers."""
        conversation = self.begin(len(laid), slots=max(map(len, laid)) + limit)
        self.read(conversation, laid, arrays)
        with self.model.scope():
            return conversation.say(structure or self.structure, sampling, limit=limit, stops=stops)

    def rows(self, images: np.ndarray, questions: Sequence[str]) -> tuple[list[Laid], dict[str, np.ndarray]]:
        """One question about each picture uint8 [B, H, W, 3]: sequences and arrays for `say`. Raises: UserError."""
        if len(images) != len(questions):
            raise UserError(f"questions: {len(questions)} for {len(images)} images, expected one each.")
        where = self.bucket(*images.shape[1:3])
        found = self.pictures([Image.fromarray(image) for image in images], where)
        laid = [self.ask(where, [Turn(role="user", text=question, images=[0])]) for question in questions]
        return laid, {name: x[:, None] for name, x in found.items()}

    def choose(
        self, images: np.ndarray, questions: Sequence[str], options: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Of each row the log-likelihood of every option as the answer, by id of it: float32 [options]."""
        laid, arrays = self.rows(images, questions)
        ids = [[self.tokenizer.encode(text) for text in texts] for texts in options]
        if short := [i for i, row in enumerate(ids) if not row or not all(row)]:
            raise UserError(f"options[{short[0]}]: empty, expected answers to choose from.")
        longest = max(len(option) for row in ids for option in row)
        conversation = self.begin(len(laid), slots=max(map(len, laid)) + longest)
        self.read(conversation, laid, arrays)
        with self.model.scope():
            return conversation.score(ids, text_only=True)[1]

    def session(self, system: str = prompts.SYSTEM) -> Session:
        """A conversation that goes on."""
        return Session(self, system)


def padded(laid: Sequence[Laid], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of sequences by name, int32 [B, T] filled up with zeros to a length that many others have."""
    length = bucket(max(map(len, laid)), LEAST)
    out = {name: np.zeros((len(laid), length), np.int32) for name in names}
    for name, rows_of in out.items():
        for to, one in zip(rows_of, laid):
            to[: len(one)] = one.arrays[name]
    return out


class Session:
    """One conversation, turn by turn; what was read and said stays in the cache."""

    def __init__(self, chat: Chat, system: str):
        self.chat, self.system = chat, system
        self.conversation: Conversation | None = None
        self.bucket: Bucket | None = None  # of the first picture
        self.answer = ""  # the last one

    def stream(
        self,
        text: str,
        pictures: Pictures = (),
        *,
        limit: int = LIMIT,
        sampling: decode.Sampling | None = None,
        stops: Sequence[str] = (),
    ) -> Iterator[str]:
        """The answer to a turn with any number of pictures, piece by piece. Raises: UserError, DataError."""
        chat = self.chat
        where = self.bucket
        if pictures and where is None:
            where = chat.bucket(pictures[0].height, pictures[0].width)
        turn = Turn(role="user", text=text, images=list(range(len(pictures))))
        at = where or (0, 0)
        if self.conversation is None:
            laid = chat.ask(at, [Turn(role="system", text=self.system), turn])
        else:
            said = self.conversation.said[0].ids
            ended = bool(said) and said[-1] == chat.vocabulary.special[END]
            writer = Writer(chat.vocabulary, chat.tokenizer, chat.sizes(at))
            laid = prompts.reply(writer, turn, ended=ended).done()
        arrays = {name: x[None] for name, x in chat.pictures(pictures, at).items()} if pictures else {}
        conversation = self.conversation or chat.begin(1, slots=len(laid) + limit)
        chat.read(conversation, [laid], arrays)
        self.conversation, self.bucket = conversation, where
        with chat.model.scope():
            for (piece,) in conversation.stream(chat.structure, sampling, limit=limit, stops=stops):
                yield piece
        self.answer = conversation.said[0].text.strip()


def _streams(model: Any) -> list[dict[str, Any]]:
    """The streams of sequences of a run's last phase that has some. Raises: UserError for a model without them."""
    for phase in reversed(model.config.data.phases):
        if found := [settings.plain(s) for s in phase["streams"] if "sequence" in s]:
            return found
    raise UserError(f"{model.label}: this model reads no sequences; its parts are {', '.join(model.fingerprints)}.")
