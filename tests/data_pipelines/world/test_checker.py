# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from data_pipelines.errors import DataError
from data_pipelines.world import accuracy, checker, drawing, fitting, scenes
from data_pipelines.world.accuracy import blurred, measured, noisy
from data_pipelines.world.layers import layers
from data_pipelines.world.scenes import Thing
from data_pipelines.world.vocabulary import COLOURS, GROUNDS, PRESETS, SHAPES

COUNTS = {"easy": 60, "standard": 40, "hard": 25}


@pytest.fixture(scope="module")
def drawn():
    return {name: [scenes.scene(name, "test", i) for i in range(count)] for name, count in COUNTS.items()}


# ------------------------------------------------------------------------------------------------------ accuracy
@pytest.mark.parametrize("preset", COUNTS)
def test_clean(drawn, preset):
    things, right, figures = measured(drawn[preset], "none, 64 px")
    assert things >= 70 and right >= 0.99
    assert min(figures.values()) >= 0.99 and figures["ground"] == 1.0


def test_clean_128(drawn):
    some = [scene for preset in COUNTS for scene in drawn[preset][:12]]
    things, right, figures = measured(some, "none, 128 px")
    assert things >= 70 and right >= 0.99 and min(figures.values()) >= 0.98


@pytest.mark.parametrize(
    ("preset", "damage", "least"),
    [
        ("easy", "noise 8/255, 64 px", 0.99),
        ("easy", "noise 16/255, 64 px", 0.95),
        ("easy", "blur 1.2 px, 64 px", 0.98),
        ("easy", "blur 2.0 px, 64 px", 0.95),  # what a small tokenizer gives back
        ("easy", "JPEG quality 60, 64 px", 0.98),
        ("standard", "noise 8/255, 64 px", 0.95),
        ("standard", "blur 1.2 px, 64 px", 0.95),
        ("hard", "noise 8/255, 64 px", 0.95),
    ],
)
def test_damaged(drawn, preset, damage, least):
    _, right, figures = measured(drawn[preset][: 40 if preset == "easy" else 25], damage)
    assert right >= least
    assert min(figures["colour"], figures["place"]) >= least
    assert preset == "easy" or figures["material"] >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "least"), [("none, 64 px", 0.99), ("none, 128 px", 0.99), ("noise 8/255, 64 px", 0.95)]
)
@pytest.mark.parametrize(("preset", "count"), [("easy", 300), ("standard", 200), ("hard", 100)])
def test_at_length(preset, count, damage, least):
    """What the checker promises, on as many scenes as docs/world.md states it for."""
    _, right, figures = measured([scenes.scene(preset, "test", i) for i in range(count)], damage)
    assert right >= least and min(figures[name] for name in ("shape", "colour", "size", "place")) >= least


def test_accuracy_prints_a_table(capsys):
    assert accuracy.main(["--preset=standard", "--scenes=1"]) == 0
    head, rule, *rows, empty, noise, last = capsys.readouterr().out.split("\n")
    assert {line.count("|") for line in (head, rule, *rows)} == {4 + len(accuracy.FIGURES) + 1}
    assert [row.split(" | ")[1] for row in rows] == list(accuracy.DAMAGES)
    assert rows[0].startswith("| standard | none, 64 px | 3 | 1.0000 |")  # things of test scene 0 that show
    assert not empty and not last and noise.startswith("standard: 1 pictures of noise, ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scenes=0"], "accuracy: --scenes is 0, expected 1 or more."),
        (["--preset=none"], "accuracy: world: preset is 'none', expected one of easy, standard, hard."),
    ],
)
def test_accuracy_refuses(capsys, options, message):
    assert accuracy.main(options) == 2
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize("shape", SHAPES)
def test_geometry(shape):
    """Place, radius and angle are read to a fraction of a pixel."""
    ground = scenes.scene("standard", "train", 0).ground
    for k, (x, y, radius, angle) in enumerate(
        [(20.3, 30.8, 9.1, 0.2), (41.9, 25.4, 6.3, -0.1), (33.0, 32.0, 12.6, 0.0)]
    ):
        size = ("medium", "small", "large")[k]
        thing = Thing(shape, "green", size, "plain", x, y, radius, angle)
        picture = drawing.draw(scenes.Scene("standard", "train", 0, ground, (thing,)), 64).picture
        (seen,) = checker.read(picture, "standard").things
        assert (seen.shape, seen.colour, seen.size, seen.material) == (shape, "green", size, "plain")
        assert abs(seen.x - x) < 0.25 and abs(seen.y - y) < 0.25 and abs(seen.radius - radius) < 0.25
        assert seen.confidence > 0.95


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_on_every_ground(colour):
    ground = scenes.scene("easy", "train", 0).ground
    for name in GROUNDS:
        for material in ("plain", "striped", "dotted"):
            thing = Thing("square", colour, "medium", material, 30.0, 34.0, 9.0, 0.1)
            scene = scenes.Scene("standard", "train", 0, dataclasses.replace(ground, colour=name), (thing,))
            reading = checker.read(drawing.draw(scene, 64).picture, "standard")
            assert reading.ground == name
            assert [(s.shape, s.colour, s.material) for s in reading.things] == [("square", colour, material)]


def test_hidden_thing_is_read_whole():
    """A thing that another hides by a quarter has its own place and size, not those of the part that shows."""
    ground = scenes.scene("easy", "train", 1).ground
    far = Thing("circle", "red", "large", "plain", 28.0, 32.0, 12.5, 0.0)
    for shape in ("square", "cross", "triangle"):
        near = Thing(shape, "cyan", "medium", "plain", 39.0, 32.0, 9.0, 0.1)
        reading = checker.read(
            drawing.draw(scenes.Scene("standard", "train", 0, ground, (far, near)), 64).picture, "standard"
        )
        seen = {s.colour: s for s in reading.things}
        assert set(seen) == {"red", "cyan"} and seen["cyan"].shape == shape
        assert (seen["red"].shape, seen["red"].size) == ("circle", "large")
        assert abs(seen["red"].x - 28.0) < 0.5 and abs(seen["red"].radius - 12.5) < 0.5


def test_joined_things_are_two():
    """Two things of one colour that a blur has joined."""
    ground = scenes.scene("easy", "train", 0).ground
    two = (
        Thing("square", "blue", "small", "plain", 20, 30, 9.2, 0.0),
        Thing("square", "blue", "small", "plain", 38.2, 30, 9.2, 0.0),
    )
    picture = drawing.draw(scenes.Scene("easy", "train", 0, ground, two), 64).picture
    reading = checker.read(blurred(2.0, picture), "easy")
    assert sorted((s.shape, round(s.x / 2)) for s in reading.things) == [("square", 10), ("square", 19)]


def test_confidence(drawn):
    """Surer reads are righter: of those above .95 nearly all are right, of those below .5 clearly fewer."""
    high, low = [], []
    for change, amount in ((noisy, 16), (blurred, 2.0)):
        for scene in drawn["hard"][:16]:
            for seen in checker.read(change(amount, drawing.draw(scene, 64).picture, scene.index), "hard").things:
                right = any(
                    (t.shape, t.colour, t.size) == (seen.shape, seen.colour, seen.size)
                    and np.hypot(t.x - seen.x, t.y - seen.y) < 3
                    for t in scene.things
                )
                (high if seen.confidence > 0.95 else low if seen.confidence < 0.5 else []).append(right)
    assert len(high) > 100 and np.mean(high) > 0.97
    assert len(low) > 4 and np.mean(low) < 0.8


# ----------------------------------------------------------------------------------------------------- bad input
def junk():
    rng = np.random.default_rng(0)
    for side in checker.SIDES:
        yield rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
        yield np.repeat(rng.integers(0, 256, (side, side, 1)), 3, axis=2).astype(np.uint8)
        yield noisy(40, np.full((side, side, 3), 128.0), 1)
        for cell in (1, 2, 4, 8, 16):
            yield np.repeat((np.indices((side, side)) // cell).sum(0)[..., None] % 2 * 255, 3, axis=2).astype(np.uint8)
        ramp = np.linspace(0, 255, side)
        yield np.repeat(np.add.outer(ramp, ramp)[..., None] / 2, 3, axis=2).astype(np.uint8)
        for colour in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (255, 255, 0), *COLOURS.values()):
            yield np.broadcast_to(np.array(colour, np.uint8), (side, side, 3))


@pytest.mark.parametrize("preset", PRESETS)
def test_junk_shows_nothing(preset):
    for picture in junk():
        assert all(seen.confidence < 0.5 for seen in checker.read(picture, preset).things)


@pytest.mark.parametrize("preset", PRESETS)
def test_noise_shows_nothing(preset):
    """What noise is read as, if anything, is of low confidence but for a tenth at most."""
    rng, seen = np.random.default_rng(3), []
    for k in range(5):
        for picture in (
            rng.integers(0, 256, (64, 64, 3), np.uint8),
            noisy(30 + 8 * k, rng.uniform(0, 255, 3) * np.ones((64, 64, 3)), k),
        ):
            seen += [s.confidence for s in checker.read(picture, preset).things]
    assert sum(confidence > 0.5 for confidence in seen) <= 0.1 * max(len(seen), 10)


@pytest.mark.parametrize("preset", PRESETS)
def test_coloured_clouds_do_not_crash(preset):
    rng = np.random.default_rng(1)
    for sigma in (1, 3, 8):
        cloud = ndimage.gaussian_filter(rng.normal(0, 1, (64, 64, 3)), (sigma, sigma, 0))
        picture = np.clip(128 + 60 * cloud / cloud.std(), 0, 255).astype(np.uint8)
        for seen in checker.read(picture, preset).things:
            assert 0 <= seen.confidence <= 1 and seen.size in PRESETS[preset].sizes


@pytest.mark.parametrize(
    ("picture", "names"),
    [
        (np.zeros((64, 64, 3), np.float32), "float32"),
        (np.zeros((64, 64), np.uint8), "(64, 64)"),
        (np.zeros((64, 64, 4), np.uint8), "(64, 64, 4)"),
        (np.zeros((64, 128, 3), np.uint8), "(64, 128, 3)"),
        (np.zeros((96, 96, 3), np.uint8), "(96, 96, 3)"),
        (np.zeros((0, 0, 3), np.uint8), "(0, 0, 3)"),
        ([[0]], "list"),
    ],
)
def test_refused(picture, names):
    with pytest.raises(DataError) as error:
        checker.read(picture, "easy")
    text = str(error.value)
    assert text.startswith("checker: picture") and names in text and "expected" in text and "\n" not in text


def test_unknown_preset():
    with pytest.raises(DataError, match="preset is 'simple', expected one of"):
        checker.read(np.zeros((64, 64, 3), np.uint8), "simple")


# --------------------------------------------------------------------------------------------------------- parts
def test_shade_is_cover():
    """A dark stripe is as covered as a bright one; a pixel half covered is half covered."""
    red, ground = np.array(COLOURS["red"], np.float32), np.array(GROUNDS["gray"], np.float32)
    picture = np.broadcast_to(ground, (64, 64, 3)).copy()
    picture[20:40, 20:40] = red
    picture[20:40, 26:30] = 0.58 * red
    picture[20:40, 40] = (red + ground) / 2
    apart = layers(picture, PRESETS["easy"])
    cover = apart.cover[..., 0]
    np.testing.assert_allclose(cover[20:40, 20:40], 1.0, atol=0.02)
    np.testing.assert_allclose(cover[21:39, 40], 0.5, atol=0.05)
    assert cover[:, 42:].max() < 0.05 and apart.name == "gray"


@pytest.mark.parametrize("shape", SHAPES)
def test_fit_finds_the_cover_it_is_given(shape):
    """Fits recover what made a cover, a blur included, from a start two units off."""
    made = fitting.Fit(shape, 31.3, 29.6, 9.4, 0.12, 1.0, 0.0, 1.0)
    centres = np.arange(14, 48) + 0.5
    cover = fitting.cover(made, centres, centres, blurred=True)
    ones = np.ones_like(cover)
    first, second, *_ = fitting.fits(
        fitting.Patch(centres, centres, cover, ones, ones), PRESETS["standard"], [(33.0, 28.4, None)]
    )
    assert first.shape == shape and first.overlap > 0.97 and second.error > 5 * first.error
    assert max(abs(first.x - 31.3), abs(first.y - 29.6), abs(first.radius - 9.4), abs(first.blur - 1.0)) < 0.1
