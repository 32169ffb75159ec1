# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A laid-out example for the eye: coloured by role, what is learnt underlined, runs of vectors counted."""

from __future__ import annotations

import itertools

from rich.text import Text

from focus_jax.sequence.layout import IGNORE, Laid, Role
from focus_jax.sequence.text import TextTokenizer
from focus_jax.sequence.vocabulary import Vocabulary

COLOURS = {
    Role.TEXT: "default",
    Role.SEMANTIC: "green",
    Role.PIXEL: "cyan",
    Role.QUERY: "yellow",
    Role.REGION: "magenta",
    Role.MASK: "red",
    Role.TARGET: "blue",
}


def coloured(laid: Laid, vocabulary: Vocabulary, tokenizer: TextTokenizer) -> Text:
    """One text; special tokens in grey by their names, vectors as [role number ... number], conditions as a raised
    number behind them, examples of a packed row on lines of their own, padding as its length."""
    out = Text()
    learnt = [False, *(label != IGNORE for label in laid.labels[:-1])]
    rows = zip(laid.segments, laid.roles, laid.conditions, learnt, laid.ids, laid.features, strict=True)
    special = lambda row: row[1] == Role.TEXT and row[4] not in vocabulary.text
    for (segment, role, condition, said, marked), group in itertools.groupby(rows, lambda r: (*r[:4], special(r))):
        run = list(group)
        ids = [int(r[4]) for r in run]
        style = f"{'dim' if marked else COLOURS[Role(role)]}{' underline' if said else ''}"
        if not segment:
            out.append(f"[padding {len(run)}]", "dim")
        elif role not in (Role.TEXT, Role.TARGET):
            number = f"{run[0][5]}" if len(run) == 1 else f"{run[0][5]}-{run[-1][5]}"
            out.append(f"[{Role(role).name.lower()} {number}]", style)
        elif role == Role.TARGET:
            out.append(f"[{len(run)} of {'semantic' if ids[0] in vocabulary.semantic else 'pixel'} codes]", style)
        else:
            out.append("".join(map(vocabulary.name, ids)) if marked else tokenizer.decode(ids), style)
        if condition:
            out.append(f"^{condition}", "bold")
    return out
