# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Reads expressions, questions and captions with a grammar of its own and decides them from pixels and radii.

It shares nothing with the modules that write the texts. What it cannot read, and what two people could see differently,
raises an error, so that a text it decides is clear.
"""

import collections
import dataclasses
import functools
import math
import re

from data_pipelines.world import drawing, scenes
from data_pipelines.world.vocabulary import CANVAS, COLOURS, GROUNDS, MATERIALS, PRESETS

CLEAR = 7.5  # canvas units between centroids from which on a side is beyond dispute (read off pixels of one unit)
FROM_MIDDLE = 5.5  # the same between a centroid and a middle line
HIDDEN = 0.05  # least hidden share that shows
CORNERS = {"circle": 0, "ring": 0, "triangle": 3, "square": 4, "star": 10, "cross": 12}
EXTENT = {"circle": 1.0, "ring": 1.0, "triangle": 1.15, "square": 0.88 * math.sqrt(2), "star": 1.12, "cross": 1.063}
HOLE = 0.56
RANK = {"small": 0, "medium": 1, "large": 2}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "twelve": 12}
TYPICAL = {"ripe tomatoes": "red", "fresh grass": "green", "a clear sky": "blue", "a ripe lemon": "yellow",
           "an aubergine": "purple", "a carrot": "orange", "a flamingo": "pink"}  # fmt: skip
LIKE = {"a coin": "circle", "a chess board": "square", "a slice of pizza": "triangle", "a doughnut": "ring"}

SIDE = "left of|right of|above|below"
NOUN = "circle|square|triangle|cross|ring|star|thing|object"
WORDS = f"(?:(?:small|medium|large) )?(?:(?:{'|'.join(MATERIALS)}) )?(?:(?:{'|'.join(COLOURS)}) )?(?:{NOUN})(?:es|s)?"


class Unclear(Exception):
    """The text cannot be read, or does not decide."""


@dataclasses.dataclass
class Seen:
    """One thing as the solver sees it: x, y centroid in canvas units."""

    x: float
    y: float
    radius: float
    words: dict[str, str]  # of size, pattern, colour, shape


def see(scene) -> list[Seen]:
    """The things of a scene, their places from masks and their sizes from their radii."""
    centres, seen = scenes.pixel_centres(64), []
    for thing in scene.things:
        mask = scenes.mask(thing, 64)
        ranges = PRESETS[scene.preset].radius.items()
        (size,) = [word for word, (low, high) in ranges if low - 0.01 <= thing.radius <= high + 0.01]
        words = {"size": size, "pattern": thing.material, "colour": thing.colour, "shape": thing.shape}
        across, down = mask.sum(0) @ centres / mask.sum(), mask.sum(1) @ centres / mask.sum()
        seen.append(Seen(float(across), float(down), thing.radius, words))
    return seen


def side(a: Seen, word: str, b: Seen) -> bool:
    """Whether a lies on that side of b."""
    ahead = {"left of": b.x - a.x, "right of": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}[word]
    if abs(ahead) < CLEAR:
        raise Unclear(f"{word} by {ahead:.1f}")
    return ahead > 0


def half(a: Seen, word: str) -> bool:
    middle = CANVAS / 2
    ahead = {"left": middle - a.x, "right": a.x - middle, "upper": middle - a.y, "lower": a.y - middle}[word]
    if abs(ahead) < FROM_MIDDLE:
        raise Unclear(f"{word} half by {ahead:.1f}")
    return ahead > 0


def extreme(values: dict[int, float], margin: float) -> int:
    """The key of the largest value."""
    order = sorted(values, key=values.__getitem__)
    if len(order) < 2 or values[order[-1]] - values[order[-2]] < margin:
        raise Unclear(f"no one stands out of {values}")
    return order[-1]


class Solver:
    def __init__(self, scene):
        self.scene, self.things = scene, see(scene)

    # ------------------------------------------------------------------------------------------------------ phrases
    def match(self, words: str) -> tuple[set[int], bool]:
        """The things that a phrase without an article describes, and whether it is a plural."""
        if not re.fullmatch(WORDS, words):
            raise Unclear(f"no phrase: {words!r}")
        *adjectives, noun = words.split()
        many = not re.fullmatch(NOUN, noun)
        noun = noun if not many else noun.removesuffix("es") if noun == "crosses" else noun.removesuffix("s")
        wanted = adjectives + ([] if noun in ("thing", "object") else [noun])
        return {i for i, t in enumerate(self.things) if all(w in t.words.values() for w in wanted)}, many

    def the(self, words: str) -> int:
        """The one thing that 'the ...' names."""
        found, many = self.match(words)
        if many or len(found) != 1:
            raise Unclear(f"the {words} is {found}")
        return found.pop()

    def several(self, words: str) -> set[int]:
        found, many = self.match(words)
        if not many:
            raise Unclear(f"not a plural: {words!r}")
        return found

    def beside(self, words: str, where: str, reference: str) -> tuple[set[int], bool]:
        """'red things', 'above', 'ring' -> those that lie there."""
        found, many = self.match(words)
        j = self.the(reference)
        return {i for i in found - {j} if side(self.things[i], where, self.things[j])}, many

    @functools.cached_property
    def covered(self) -> set[tuple[int, int]]:
        """(nearer, farther) where one hides a part of the other that shows."""
        ids, found = drawing.draw(self.scene, 128).ids, set()
        for far, thing in enumerate(self.scene.things):
            area = scenes.mask(thing, 128)
            for near in range(far + 1, len(self.things)):
                share = (area & scenes.mask(self.scene.things[near], 128)).sum() / area.sum()
                if 0 < share < HIDDEN:
                    raise Unclear(f"{share:.3f} of a thing is hidden")
                if share:
                    assert (area & (ids != far + 1)).sum() >= 0.8 * share * area.sum()  # the picture shows it
                    found.add((near, far))
        return found

    # -------------------------------------------------------------------------------------------------- expressions
    def referents(self, text: str) -> set[int]:
        """The things that an expression denotes."""
        for pattern, rule in RULES.items():
            if m := re.fullmatch(pattern, text):
                found, many = rule(self, *m.groups())
                if many is not None and (many and len(found) == 1 or not many and len(found) > 1):
                    raise Unclear(f"{text!r} is {found}")
                return found
        raise Unclear(f"cannot read {text!r}")

    def superlative(self, word: str, words: str) -> tuple[set[int], bool]:
        found, many = self.match(words)
        if word in ("largest", "smallest"):
            sign = 1 if word == "largest" else -1
            return {extreme({i: sign * RANK[self.things[i].words["size"]] for i in found}, 1)}, many
        ahead = {"leftmost": lambda t: -t.x, "rightmost": lambda t: t.x, "highest": lambda t: -t.y,
                 "topmost": lambda t: -t.y, "lowest": lambda t: t.y}[word]  # fmt: skip
        return {extreme({i: ahead(self.things[i]) for i in found}, CLEAR)}, many

    def corners(self, word: str) -> set[int]:
        counts = [CORNERS[t.words["shape"]] for t in self.things]
        if len(set(counts)) < 2:
            raise Unclear("all have as many corners")
        wanted = max(counts) if word == "most" else min(counts)
        return {i for i, n in enumerate(counts) if n == wanted}

    def fitting(self, *, fits: bool = True) -> set[int]:
        """The things that fit into the only ring, or the rest but for the ring itself."""
        (ring,) = [i for i, t in enumerate(self.things) if t.words["shape"] == "ring"]
        room = HOLE * self.things[ring].radius
        need = {i: EXTENT[t.words["shape"]] * t.radius for i, t in enumerate(self.things) if i != ring}
        if any(abs(n - room) < 0.04 * room for n in need.values()):
            raise Unclear("a close fit")
        return {i for i, n in need.items() if (n < room) is fits}

    def odd(self, field: str) -> set[int]:
        groups = collections.defaultdict(set)
        for i, t in enumerate(self.things):
            groups[t.words[field]].add(i)
        sizes = sorted(map(len, groups.values()))
        if len(sizes) != 2 or sizes[0] != 1 or sizes[1] < 2:
            raise Unclear(f"no odd one out in {field}")
        return min(groups.values(), key=len)

    def same(self, field: str, words: str) -> set[int]:
        j = self.the(words)
        return {i for i, t in enumerate(self.things) if i != j and t.words[field] == self.things[j].words[field]}

    def near(self, x: float, y: float, sign: int, without: int | None = None) -> set[int]:
        away = {i: sign * math.hypot(t.x - x, t.y - y) for i, t in enumerate(self.things) if i != without}
        return {extreme(away, CLEAR)}

    def typical(self, what: str) -> set[int]:
        colours = [t.words["colour"] for t in self.things]
        if TYPICAL[what] == "blue" and "cyan" in colours:
            raise Unclear("blue beside cyan")
        return {i for i, colour in enumerate(colours) if colour == TYPICAL[what]}

    def shaped(self, shape: str) -> set[int]:
        return {i for i, t in enumerate(self.things) if t.words["shape"] == shape}

    def cornered(self, number: int) -> set[int]:
        return {i for i, t in enumerate(self.things) if CORNERS[t.words["shape"]] == number}

    # ---------------------------------------------------------------------------------------------------- questions
    def name(self, text: str) -> int:
        """'the red circle', 'the leftmost circle', 'the thing above the ring'."""
        found = self.referents(text)
        if len(found) != 1:
            raise Unclear(f"{text!r} is {found}")
        return found.pop()

    def answer(self, text: str) -> str:
        for pattern, rule in QUESTIONS.items():
            if m := re.fullmatch(pattern, text):
                answer = rule(self, *m.groups())
                return str(answer) if not isinstance(answer, bool) else ("no", "yes")[answer]
        raise Unclear(f"cannot read {text!r}")

    def any_beside(self, words: str, where: str) -> bool:
        """'a circle', 'left of' another thing."""
        others = [(self.things[i], b) for i in self.one(words) for j, b in enumerate(self.things) if i != j]
        return self.some(functools.partial(side, a, where, b) for a, b in others)

    def one(self, words: str) -> set[int]:
        """'a circle', 'an orange thing' -> those that it may be."""
        article, words = words.split(" ", 1)
        found, many = self.match(words)
        if many or article != ("an" if words[0] in "aeiou" else "a"):
            raise Unclear(f"no indefinite phrase: {article} {words}")
        return found

    @staticmethod
    def some(decisions) -> bool:
        """Whether one is true; unclear where none is but some are undecided."""
        unclear = None
        for decide in decisions:
            try:
                if decide():
                    return True
            except Unclear as e:
                unclear = e
        if unclear:
            raise unclear
        return False

    def which_here(self, first: str, second: str) -> str:
        values = first.split()[-1], second.split()[-1]
        here = [value for value in values if any(value in t.words.values() for t in self.things)]
        if len(here) != 1:
            raise Unclear(f"{first} or {second}: {here}")
        return here[0]

    def size_order(self, a: str, b: str) -> int:
        ranks = [RANK[self.things[self.the(words)].words["size"]] for words in (a, b)]
        if ranks[0] == ranks[1]:
            raise Unclear(f"{a} and {b} are of one size")
        return 1 if ranks[0] > ranks[1] else -1

    def which_by_size(self, word: str, a: str, b: str) -> str:
        shapes = [self.things[self.the(words)].words["shape"] for words in (a, b)]
        if shapes[0] == shapes[1]:
            raise Unclear("both answers are alike")
        return shapes[(self.size_order(a, b) < 0) == (word == "larger")]

    def field(self, field: str, name: str) -> str:
        return self.things[self.name(name)].words[field]

    def listed(self, field: str, name: str, options: str) -> str:
        answer = self.field(field, name)
        expected = {"size": PRESETS[self.scene.preset].sizes, "pattern": MATERIALS}[field]
        if tuple(re.split(", | or ", options)) != expected:
            raise Unclear(f"options {options!r}")
        return answer

    def fronts(self, a: str, b: str) -> bool:
        i, j = self.the(a), self.the(b)
        if (i, j) not in self.covered and (j, i) not in self.covered:
            raise Unclear("neither covers the other")
        return (i, j) in self.covered

    # ----------------------------------------------------------------------------------------------------- captions
    def caption(self, text: str) -> tuple[tuple[int, str, int] | None, tuple[str, ...]]:
        """The relation and the halves that a caption names; raises where it is not true of the scene, or not all."""
        grounds = "|".join(GROUNDS)
        m = re.fullmatch(
            rf"(?:a picture of )?(?P<list>.*?) on a (?P<ground>{grounds}) background(?:, with (?P<relation>.*))?", text
        ) or re.fullmatch(rf"on a (?P<ground>{grounds}) background, (?P<list>.*?)(?:, with (?P<relation>.*))?", text)
        if not m or m["ground"] != self.scene.ground.colour:
            raise Unclear(f"caption {text!r}")
        halves: tuple[str, ...] = ()
        if pair := re.fullmatch(rf"(an? {WORDS}) ({SIDE}) (an? {WORDS})", m["list"]):
            parts, where = [pair[1], pair[3]], pair[2]
            i, j = (self.the(part.split(" ", 1)[1]) for part in parts)
        elif lone := re.fullmatch(rf"(an? {WORDS}) in the (?:(\w+) half|(\w+) (\w+) quarter)", m["list"]):
            parts, halves = [lone[1]], tuple(word for word in lone.groups()[1:] if word)
            i = j = where = None
        else:
            parts = re.split(", | and ", m["list"])
            i = j = where = None
        for word in halves:
            if len(self.things) != 1 or not half(self.things[0], word):
                raise Unclear(f"{text!r} is not true")
        told = set()
        for part in parts:
            article, words = part.split(" ", 1)
            found = self.one(part) if article in ("a", "an") else self.several(words)
            fields = [f for f, values in self.varied().items() if values]
            if len(words.split()) != len(fields) or len(found) != NUMBERS.get(article, 1) or told & found:
                raise Unclear(f"{part!r} is {found}")
            told |= found
        if told != set(range(len(self.things))):
            raise Unclear(f"{text!r} tells of {told}")
        if m["relation"]:
            r = re.fullmatch(rf"the ({WORDS}) ({SIDE}) the ({WORDS})", m["relation"])
            i, where, j = self.the(r[1]), r[2], self.the(r[3])
        if i is None:
            return None, halves
        if not side(self.things[i], where, self.things[j]):
            raise Unclear(f"{text!r} is not true")
        return (i, where, j), halves

    def varied(self) -> dict[str, tuple[str, ...]]:
        p = PRESETS[self.scene.preset]
        values = {"size": p.sizes, "pattern": p.materials, "colour": p.colours, "shape": p.shapes}
        return {field: v for field, v in values.items() if len(v) > 1}


def _set(rule):
    """A rule for 'the thing that ...' and 'the things that ...': its answer has the number of the text."""
    return lambda self, number, *words: (rule(self, *words), number == "s")


RULES = {
    rf"(?:the|all) ({WORDS})": Solver.match,
    rf"the (leftmost|rightmost|highest|topmost|lowest|largest|smallest) ({WORDS})": Solver.superlative,
    rf"(?:the|all) ({WORDS}) ({SIDE}) the ({WORDS})": Solver.beside,
    r"the (?:shape|thing)(s?) with the (most|fewest) corners": _set(Solver.corners),
    r"the (?:shape|thing)(s?) with exactly (three|four|twelve) corners": _set(lambda s, n: s.cornered(NUMBERS[n])),
    r"the thing(s?) (?:that could roll|without any corners)": _set(lambda s: s.cornered(0)),
    r"what would fit into the ring": lambda s: (s.fitting(), None),
    r"the thing(s?) that would fit into the ring": _set(Solver.fitting),
    r"the other thing(s?) too large to fit into the ring": _set(lambda s: s.fitting(fits=False)),
    r"the odd one out in (size|pattern|colour|shape)": lambda s, field: (s.odd(field), False),
    r"the thing(s?) that covers? another": _set(lambda s: {near for near, _ in s.covered}),
    r"the thing(s?) that (?:is|are) partly (?:hidden|covered)": _set(lambda s: {far for _, far in s.covered}),
    r"the (?:thing|object) (nearest to|farthest from) the middle of the picture": lambda s, word: (
        s.near(CANVAS / 2, CANVAS / 2, -1 if word == "nearest to" else 1),
        False,
    ),
    rf"the thing closest to the ({WORDS})": lambda s, words: (
        s.near(s.things[s.the(words)].x, s.things[s.the(words)].y, -1, s.the(words)),
        False,
    ),
    rf"the thing(s?) that (?:has|have) the colour of ({'|'.join(TYPICAL)})": _set(Solver.typical),
    rf"the other thing(s?) of the same (size|pattern|colour|shape) as the ({WORDS})": _set(Solver.same),
    r"the shape(s?) you would draw for the night sky": _set(lambda s: s.shaped("star")),
    r"the wheel-like shape(s?) with a hole": _set(lambda s: s.shaped("ring")),
    rf"the thing(s?) with the shape of ({'|'.join(LIKE)})": _set(lambda s, what: s.shaped(LIKE[what])),
}

QUESTIONS = {
    rf"(?:Is there|Can you see|Does the picture show) (an? {WORDS})\?": lambda s, words: bool(s.one(words)),
    rf"(?:How many|What is the number of) ({WORDS})(?: are there| can you see)?\?": lambda s, w: len(s.several(w)),
    r"What colour is the background\?": lambda s: s.scene.ground.colour,
    r"What (colour|shape|size) is (the .*)\?": Solver.field,
    r"What is the (colour|shape) of (the .*)\?": Solver.field,
    r"Which (colour|shape) does (the .*) have\?": Solver.field,
    r"How big is (the .*)\?": lambda s, name: s.field("size", name),
    r"Is (the .*) (small, medium or large|small or large)\?": lambda s, n, options: s.listed("size", n, options),
    r"What pattern does (the .*) have\?": lambda s, name: s.field("pattern", name),
    r"What does the surface of (the .*) look like\?": lambda s, name: s.field("pattern", name),
    r"Is (the .*) (plain, striped or dotted)\?": lambda s, name, options: s.listed("pattern", name, options),
    r"Which is in the picture, (an? \w+|something \w+) or (an? \w+|something \w+)\?": Solver.which_here,
    rf"(?:Is|Does) the ({WORDS}) (?:lie )?({SIDE}) the ({WORDS})\?": lambda s, a, where, b: side(
        s.things[s.the(a)], where, s.things[s.the(b)]
    ),
    rf"Is the ({WORDS}) left or right of the ({WORDS})\?": lambda s, a, b: (
        "left" if side(s.things[s.the(a)], "left of", s.things[s.the(b)]) else "right"
    ),
    rf"Is the ({WORDS}) above or below the ({WORDS})\?": lambda s, a, b: (
        "above" if side(s.things[s.the(a)], "above", s.things[s.the(b)]) else "below"
    ),
    rf"(?:Is there|Does) anything (?:lie )?({SIDE}) the ({WORDS})\?": lambda s, where, words: s.some(
        functools.partial(side, t, where, s.things[s.the(words)]) for i, t in enumerate(s.things) if i != s.the(words)
    ),
    rf"(?:Is there|Does) (an? {WORDS}) (?:lie )?({SIDE}) another thing\?": Solver.any_beside,
    rf"(?:Is there|Can you see) (an? {WORDS}) in the (left|right|upper|lower) half of the picture\?": (
        lambda s, words, which: s.some(functools.partial(half, s.things[i], which) for i in s.one(words))
    ),
    rf"Does the ({WORDS}) cover part of the ({WORDS})\?": Solver.fronts,
    rf"Is the ({WORDS}) in front of the ({WORDS})\?": Solver.fronts,
    rf"Are there (more|fewer) ({WORDS}) than ({WORDS})\?": lambda s, word, a, b: (
        len(s.several(a)) > len(s.several(b)) if word == "more" else len(s.several(a)) < len(s.several(b))
    ),
    rf"Are there as many ({WORDS}) as ({WORDS})\?": lambda s, a, b: len(s.several(a)) == len(s.several(b)),
    rf"Is the number of ({WORDS}) equal to the number of ({WORDS})\?": lambda s, a, b: (
        len(s.several(a)) == len(s.several(b))
    ),
    rf"Is the ({WORDS}) (larger|smaller) than the ({WORDS})\?": lambda s, a, word, b: (
        s.size_order(a, b) == (1 if word == "larger" else -1)
    ),
    rf"Which is (larger|smaller), the ({WORDS}) or the ({WORDS})\?": Solver.which_by_size,
    rf"Do the ({WORDS}) and the ({WORDS}) have the same (size|pattern|colour|shape)\?": lambda s, a, b, field: (
        s.things[s.the(a)].words[field] == s.things[s.the(b)].words[field]
    ),
    rf"Is the (size|pattern|colour|shape) of the ({WORDS}) the same as that of the ({WORDS})\?": lambda s, f, a, b: (
        s.things[s.the(a)].words[f] == s.things[s.the(b)].words[f]
    ),
}
