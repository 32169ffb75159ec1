# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Referring and reasoning expressions: words that denote exactly the things named with them: one, several or none."""

import dataclasses

from data_pipelines.world import naming, reasons
from data_pipelines.world.draws import Draws
from data_pipelines.world.phrases import NOUNS, Phrases, phrase
from data_pipelines.world.scenes import Scene

KINDS = ("attributes", "relation", "superlative", "plural", "none")  # of `referring`


@dataclasses.dataclass(frozen=True)
class Expression:
    """things: indices into Scene.things of all that the text denotes, rising; empty where it denotes nothing."""

    text: str
    kind: str
    things: tuple[int, ...]


def referring(scene: Scene, d: Draws, count: int) -> list[Expression]:
    """`count` expressions, their kinds in equal shares; a kind that the scene does not allow gives way to another.

    attributes: 'the red circle'; relation: 'the circle left of the red square'; superlative: 'the leftmost circle';
    plural, of several things: 'all red things', 'the things above the ring'; none: like the others, but of no thing.
    Half of the names are as short as they can be, the other half may say more than is needed.
    """
    phrases = Phrases(scene)
    out: list[Expression] = []
    kinds: list[str] = []
    while len(out) < count:
        kinds = kinds or d.shuffled(KINDS)
        kind = kinds.pop()
        for k in (kind, *d.shuffled([k for k in KINDS if k != kind])):  # `none` is always possible
            if (expression := _MAKERS[k](phrases, d)) is not None:
                out.append(expression)
                break
    return out


def reasoning(scene: Scene, d: Draws, count: int) -> list[Expression]:
    """Expressions of kind `reasoning` (reasons.RULES), no two alike and the rules in equal shares.

    Fewer than `count`, down to none, where the scene allows no more.
    """
    phrases = Phrases(scene)
    open_ = [d.shuffled(found) for rule in d.shuffled(reasons.RULES) if (found := rule(phrases, d))]
    out: list[Expression] = []
    while open_ and len(out) < count:
        for found in open_:
            text, things = found.pop()
            out.append(Expression(text, "reasoning", tuple(sorted(things))))
        open_ = [found for found in open_ if found]
    return out[:count]


def _attributes(phrases: Phrases, d: Draws) -> Expression | None:
    if not (named := phrases.named()):
        return None
    i = d.choice(named)
    return Expression(f"the {phrases.called(d, i)}", "attributes", (i,))


def _relation(phrases: Phrases, d: Draws) -> Expression | None:
    name = naming.relative(phrases, d)
    return Expression(f"the {name.text}", "relation", name.things) if name else None


def _superlative(phrases: Phrases, d: Draws) -> Expression | None:
    name = naming.superlative(phrases, d)
    return Expression(f"the {name.text}", "superlative", name.things) if name else None


def _plural(phrases: Phrases, d: Draws) -> Expression | None:
    article = d.choice(("the", "all"))
    if d.chance(0.3) and (name := naming.relative(phrases, d, "several")):
        return Expression(f"{article} {name.text}", "plural", name.things)
    if not (keys := [key for key, group in phrases.groups.items() if len(group) > 1]):
        return None
    key = d.choice(keys)
    return Expression(f"{article} {phrase(key, d.choice(NOUNS), many=True)}", "plural", tuple(phrases.groups[key]))


def _none(phrases: Phrases, d: Draws) -> Expression:
    """In the forms of the other kinds, so that the form does not tell."""
    form = d.choice(("attributes", "attributes", "relation", "plural"))
    if form == "relation" and (name := naming.relative(phrases, d, "none")):
        return Expression(f"the {name.text}", "none", ())
    many = form == "plural"
    while True:  # ends: of all fields together there is a combination that the scene lacks
        i = d.integer(0, len(phrases.things) - 1)
        key = phrases.some(d, i, (1, 2)) if many else phrases.name(d, i) or phrases.some(d, i, (len(phrases.fields),))
        if any(key) and (absent := phrases.absent(d, key)):
            article = d.choice(("the", "all")) if many else "the"
            return Expression(f"{article} {phrase(absent, d.choice(NOUNS), many=many)}", "none", ())


_MAKERS = {
    "attributes": _attributes,
    "relation": _relation,
    "superlative": _superlative,
    "plural": _plural,
    "none": _none,
}
