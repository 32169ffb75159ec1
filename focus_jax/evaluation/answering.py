# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks on official files have in common: their config, pictures of any size, prompts, protocol."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines import transforms
from focus_jax.errors import UserError
from focus_jax.evaluation import files, held_out, layouts
from focus_jax.evaluation.figures import Figure, clustered
from focus_jax.evaluation.files import LETTERS, Row


@dataclasses.dataclass(frozen=True)
class Asked:
    """The rows of a run, and how many the layout left out, by reason."""

    rows: list[Row]
    left_out: Mapping[str, int]


def check(config: Any, benchmarks: Sequence[str]) -> None:
    """Raises: UserError naming the field."""
    files.check(config, benchmarks, height=1, width=1, batch_size=1, limit=0, shown=0)
    try:
        asked = config.prompt.format(question="\0", options="", hint="")
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"config.prompt: {error} stands in braces, expected question, options or hint.") from error
    if "\0" not in asked:
        raise UserError(f"config.prompt: {config.prompt!r} has no {{question}}, expected one.")


def rows_of(config: Any, data: Sequence[Row] | None) -> Asked:
    """The rows given, or those that the config names, the first `limit` of them unless that is 0."""
    rows, left_out = (list(data), {}) if data is not None else layouts.read(config.benchmark, config.data)
    return Asked(rows[: config.limit or None], left_out)


def canvases(rows: Sequence[Row], config: Any) -> np.ndarray:
    """uint8 [N, height, width, 3]: whole pictures, resized to fit, the rest mean colour, as `infer` takes them, but
    however small or long they are."""
    out = []
    for row in rows:
        image = transforms.decode(row.encoded(), row.name)
        out.append(transforms.whole(image.height, image.width, (config.height, config.width)).canvas(image))
    return np.stack(out)


def prompt(config: Any, row: Row) -> str:
    """config.prompt with {question}, {options} as lines "A. ..." and {hint}, which ends its line where there is one."""
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, row.options))
    return config.prompt.format(question=row.question, options=options, hint=f"{row.hint}\n" if row.hint else "")


def batches(rows: Sequence[Row], config: Any) -> Iterator[tuple[Sequence[Row], np.ndarray, list[str]]]:
    """(rows, pictures, questions), config.batch_size at a time."""
    for chunk in held_out.chunks(rows, config.batch_size):
        yield chunk, canvases(chunk, config), [prompt(config, row) for row in chunk]


def by_picture(rows: Sequence[Row]) -> list[int]:
    """A number for each row, the same for those about one picture: what errors are clustered by."""
    numbers: dict[str | bytes, int] = {}
    return [numbers.setdefault(row.source, len(numbers)) for row in rows]


def means(name: str, rows: Sequence[Row], values: Sequence[float], group: Callable[[Row], str]) -> dict[str, Figure]:
    """`name` over all rows, and `name_GROUP` where there are several groups."""
    pictures, groups = by_picture(rows), [slug(group(row)) for row in rows]
    out = {name: clustered(values, pictures)}
    for one in sorted(set(groups)) if len(set(groups)) > 1 else ():
        mine = [i for i, g in enumerate(groups) if g == one]
        out[f"{name}_{one}" if one else f"{name}_other"] = clustered(
            [values[i] for i in mine], [pictures[i] for i in mine]
        )
    return out


def slug(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower()


def protocol(config: Any, asked: Asked | None, **more: Any) -> dict[str, Any]:
    """What the figures depend on beside config and checkpoint; asked: of a run that was done."""
    out = {"pictures": "whole, resized to fit, the rest mean colour", "standard_errors": "by picture", **more}
    if asked is None:
        return out
    said = json.dumps([[row.question, row.answers, row.options, row.hint] for row in asked.rows])
    return out | {
        "questions": {
            "asked": len(asked.rows),
            "pictures": len(set(by_picture(asked.rows))),
            "left_out": dict(asked.left_out),
            "sha256": hashlib.sha256(said.encode()).hexdigest(),  # of questions, answers, options and hints
        }
    }


def gallery(config: Any, asked: Asked, said: Sequence[str], values: Sequence[float]) -> held_out.Gallery:
    rows = asked.rows
    cells = [
        (canvases(rows[k : k + 1], config)[0], rows[k].question, f"{said[k]} ({_verdict(rows[k], values[k])})")
        for k in held_out.spread(len(rows), config.shown)
    ]
    return held_out.gallery(config.benchmark, ("picture", "question", "answer"), cells)


def _verdict(row: Row, value: float) -> str:
    return "right" if value == 1 else f"{value:.2g}; expected {row.answers[0]}"
