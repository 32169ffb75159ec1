# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Pages of the world: a page shows all that the Example holds, nothing is cut off; docs/world.md says what is true."""

import contextlib
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from data_pipelines import show, transforms
from data_pipelines.errors import DataError
from data_pipelines.world import pages
from data_pipelines.world.examples import GROUND, TASKS
from data_pipelines.world.vocabulary import PRESETS, VERSION

ROOT = pathlib.Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/world.md"
PICTURES = ROOT / "docs/world"
SIDE = 128 * pages.SCALE


@pytest.fixture(scope="module", params=PRESETS)
def shown(request):
    """{task: [(Example, title, panels)]} of two scenes; the third of each preset and, of `easy`, a lone thing."""
    out = {}
    for task, page in pages.PAGES.items():
        found = pages.examples(request.param, "test", task, 2, start=4 if request.param == "easy" else 2)
        out[task] = [(example, *page.draw(example)) for example in found]
    return out


def text(*lines):
    return " ".join(words for line in lines for words, _ in line)


def below(panels):
    return [text(*panel.text) for panel in panels]


def plain(image, scale=pages.SCALE):
    return pages.enlarged(np.asarray(transforms.decode(image.data)), scale)


def changed(panel, image):
    """bool [H, W] of the picture: pixels that something was drawn on."""
    different = (panel.pixels != plain(image)).any(-1)
    return different.reshape(128, pages.SCALE, 128, pages.SCALE).any((1, 3))


def masks(example):
    return [instance.mask.to_array() for instance in example.instances]


def test_every_task_has_a_page():
    assert list(pages.PAGES) == ["scenes", *TASKS]


def test_titles_name_the_scene_and_panels_are_pictures(shown):
    for task, cells in shown.items():
        side = 128 if task == "scenes" else SIDE
        for example, title, panels in cells:
            assert title[0][0] == example.id and panels
            for panel in panels:
                assert panel.pixels.dtype == np.uint8 and panel.pixels.shape == (side, side, 3)


def test_scenes_are_the_pictures_alone(shown):
    for example, _, (panel,) in shown["scenes"]:
        np.testing.assert_array_equal(panel.pixels, plain(example.images[0], 1))
        assert not panel.text


def test_objects_have_boxes_and_all_their_words(shown):
    for example, _, (panel,) in shown["objects"]:
        assert len(panel.text) == len(example.instances)
        for i, (instance, line) in enumerate(zip(example.instances, below([panel])[0].split(" # "))):
            assert line.removeprefix("# ") == f"{i} {' '.join([*instance.attributes, instance.category])}"
        for x, y, w, h in [map(int, instance.box) for instance in example.instances]:
            drawn = changed(panel, example.images[0])[max(0, y - 1) : y + h + 1, max(0, x - 1) : x + w + 1]
            assert drawn[[0, -1]].mean() > 0.9 and drawn[:, [0, -1]].mean() > 0.9
    colours = [line[0][1] for line in panel.text]
    assert len(set(colours)) == len(colours)  # a thing of the page is told from the others by its colour


def test_panoptic_maps_give_every_pixel_to_one_mask(shown):
    for example, _, (picture, map_) in shown["panoptic"]:
        np.testing.assert_array_equal(picture.pixels, plain(example.images[0]))
        assert example.instances[-1].category == GROUND and len(map_.text) == len(example.instances)
        assert "ground" in text(map_.text[-1])
        for mask, line in zip(masks(example), map_.text):
            inside = map_.pixels[pages.enlarged(mask)]
            assert (inside == line[0][1]).all(-1).mean() > 0.5  # the rest is its number


def test_a_pixel_of_no_mask_is_black(shown):
    example = shown["panoptic"][0][0]
    ground = example.instances.pop()
    try:
        _, (_, map_) = pages.PAGES["panoptic"].draw(example)
    finally:
        example.instances.append(ground)
    assert (map_.pixels[pages.enlarged(ground.mask.to_array())] == 0).mean() > 0.9


def test_geometry_has_four_panels(shown):
    for example, _, panels in shown["geometry"]:
        _, depth, normals, edges = panels
        assert [line.split(":")[0] for line in below(panels)] == ["", "depth", "normals", "edges"]
        far = pages.enlarged(example.depth == 1)
        assert (depth.pixels[far] == 0).all() and depth.pixels.max() >= 254
        assert (normals.pixels[far] == (127, 127, 255)).all()
        np.testing.assert_array_equal(edges.pixels[..., 0] == 255, pages.enlarged(example.edges == 1))


def test_texts_stand_below_their_picture(shown):
    for task in ("caption", "questions"):
        for example, _, (panel,) in shown[task]:
            np.testing.assert_array_equal(panel.pixels, plain(example.images[0]))
            said = [turn.text for turn in example.turns]
            assert below([panel]) == [" ".join(said)] and said
    assert len(shown["questions"][0][2][0].text) == 6  # one line a question with its answer


@pytest.mark.parametrize("task", ["referring", "reasoning"])
def test_expressions_outline_what_they_mean(shown, task):
    for example, _, panels in shown[task]:
        assert len(panels) == max(1, len(example.expressions))
        for panel, words, expression in zip(panels, below(panels), example.expressions):
            nothing = "" if expression.instances else " nothing"
            assert words == f"{expression.kind}: {expression.text}{nothing}"
            drawn = changed(panel, example.images[0])
            meant = [masks(example)[i] for i in expression.instances]
            assert drawn.any() == bool(meant)
            assert len(meant) != 1 or not (drawn & meant[0]).any()  # what is meant is not painted over
            for mask in meant:  # the outline goes all the way around, next to the mask
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                assert drawn[max(0, rows[0] - 2) : rows[-1] + 3].any(1).all()
                assert drawn[:, max(0, columns[0] - 2) : columns[-1] + 3].any(0).all()


def test_an_expression_too_few_is_said():
    (example,) = pages.examples("easy", "test", "reasoning", 1)
    example.expressions.clear()
    _, panels = pages.PAGES["reasoning"].draw(example)
    assert below(panels) == ["no expression"]


def test_regions_show_each_kind_of_hint(shown):
    for example, _, panels in shown["regions"]:
        assert [line.split(":")[0] for line in below(panels)] == ["point", "scribble", "box", "mask"]
        for panel, words, region in zip(panels, below(panels), example.regions):
            instance = example.instances[region.instance]
            assert words == f"{region.kind}: {' '.join([*instance.attributes, instance.category])}"
            assert changed(panel, example.images[0])[region.mask.to_array()].all()


def test_edits_show_instruction_source_target_and_region(shown):
    for example, title, (source, target, may) in shown["edit"]:
        assert title[1][0] == example.instruction
        np.testing.assert_array_equal(target.pixels, plain(example.target))
        hint = np.zeros((128, 128), bool)
        for region in example.regions:
            hint |= region.mask.to_array()
        drawn = changed(source, example.images[0])
        assert drawn[hint].all() and drawn.any() == hint.any()
        said = ", ".join(region.kind for region in example.regions)
        assert below([source, target])[0] == (f"source, with the hint: {said}" if said else "source")
        region = example.edit_region.to_array()
        outlined = changed(may, example.target)
        assert outlined.any() == (not region.all()) and not outlined[region].all()
        different = (plain(example.images[0], 1) != plain(example.target, 1)).any(-1)
        assert different.any() and not (different & ~region).any()


def test_clips_show_every_frame_and_every_track_once(shown):
    for example, title, panels in shown["clip"]:
        assert below(panels) == [f"{frame.time:.2f} s" for frame in example.frames]
        tracks = sorted({instance.track for instance in example.instances})
        assert [int(words.split()[0]) for words, _ in title[1:] if words != "#"] == tracks


def test_nothing_is_cut_off(shown):
    """A cell holds its panels, its title and its texts, and no letter reaches an edge."""
    for task, cells in shown.items():
        for example, title, panels in cells:
            cell = np.asarray(pages.cell(example, task))
            across, rows = min(4, len(panels)), -(-len(panels) // 4)
            side = panels[0].pixels.shape[1]
            assert cell.shape[1] == across * (side + pages.MARGIN) + pages.MARGIN
            assert cell.shape[0] >= rows * side + max(17 * len(panel.text) for panel in panels)
            assert (cell[1:-1, [1, -2]] == 255).all() and (cell[[1, -2], 1:-1] == 255).all()
            for lines, width in [([title], cell.shape[1] - 2 * pages.MARGIN), *((p.text, side) for p in panels)]:
                image = np.asarray(pages._text(lines, width))
                assert not image.size or (image[:, -1] == 255).all()
                assert not image.size or (image[-1] == 255).all() and (image < 255).any()


def test_long_lines_are_wrapped():
    line = [("word " * 60, (0, 0, 0))]
    one, many = pages._text([[("word", (0, 0, 0))]], 200), pages._text([line], 200)
    assert many.width == 200 and many.height >= 8 * one.height
    ink = lambda image: (np.asarray(image.convert("L")) < 128).sum()
    assert ink(many) == pytest.approx(60 * ink(one), rel=0.1)  # every word is there


def test_the_command_draws_a_page(tmp_path, capsys):
    """Cells in rows, as a palette picture a few levels from the true colours."""
    output = tmp_path / "page.png"
    assert show.main(["--world=standard", "--task=caption", "--count=4", f"--output={output}"]) == 0
    assert "4 records drawn" in capsys.readouterr().out
    cells = [pages.cell(example, "caption") for example in pages.examples("standard", "test", "caption", 4)]
    with Image.open(output) as page:
        assert page.mode == "P" and page.width == sum(cell.width for cell in cells[:3])
        true = np.asarray(show.grid(cells, 3)).astype(int)
        assert np.abs(np.asarray(page.convert("RGB")) - true).mean() < 2
    assert show.main(["--world=easy", "--split=open", "--start=3", "--count=1", f"--output={output}"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--world=medium"], "world: preset is 'medium', expected one of easy, standard, hard."),
        (["--world=easy", "--task=paint"], "world: there is no page of task 'paint', expected one of scenes, objects,"),
        (["--world=easy", "--split=dev"], "world: split is 'dev', expected one of train, validation, test, open."),
        (["--world=easy", "--count=0"], "world: a page of 0 scenes from 0 on, expected at least 1 from 0 or more on."),
        (["--world=easy", "--start=-1"], "world: a page of 24 scenes from -1 on, expected at least 1 from 0 or more"),
        (["--world=easy", "--columns=0"], "a sheet of 0 columns, expected at least 1."),
        (["--world=easy", "--verify"], "--verify reads checksums of shards, expected it with a directory only."),
        (["shards", "--task=edit"], "--task and --start are of the world, expected them with --world only."),
        (["shards", "--world=easy"], "expected a directory or --world, and not both."),
        ([], "expected a directory or --world, and not both."),
    ],
)
def test_refused_in_one_sentence(arguments, message, tmp_path, capsys):
    assert show.main([*arguments, f"--output={tmp_path / 'page.png'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"show: {message}") and error.count("\n") == 1
    assert not (tmp_path / "page.png").exists()


def test_a_page_of_examples_needs_a_task():
    with pytest.raises(DataError, match="there is no page of task 'clips'"):
        pages.examples("easy", "test", "clips", 1)


# ----------------------------------------------------------------------------------------------------- docs/world.md
def bounds(low, high, scale=1, unit=""):
    return f"{low * scale:g} to {high * scale:g}{unit}"


def test_the_tables_are_true():
    presets = list(PRESETS.values())
    rows = {
        "things": [bounds(*p.things) for p in presets],
        "small, radius": [bounds(*p.radius["small"]) for p in presets],
        "medium, radius": [bounds(*p.radius["medium"]) if "medium" in p.radius else "none" for p in presets],
        "large, radius": [bounds(*p.radius["large"]) for p in presets],
        "turned by up to": [f"{np.degrees(p.angle):.0f}°" for p in presets],
        "may be hidden": [
            bounds(*p.hidden, scale=100, unit=" % of a thing") if p.occlusion else "nothing" for p in presets
        ],
        "ground: flat, or textured by up to": [
            f"{f'{100 * p.flat:g} %' if p.flat else 'never flat'}, {100 * p.ground:g} %" for p in presets
        ],
    }
    document = DOCUMENT.read_text()
    for name, cells in rows.items():
        assert f"| {name} | {' | '.join(cells)} |" in document
    for name, values in (("shapes", "shapes"), ("colours", "colours"), ("materials", "materials")):
        (row,) = re.findall(rf"^\| {name} \| (.*) \|$", document, re.M)
        known: list[str] = []
        for cell, p in zip(row.split(" | "), presets, strict=True):
            count, _, new = cell.partition(": ")
            known += [word for word in re.findall(r"\w+", new) if word != "and"]
            assert (int(count), known) == (len(getattr(p, values)), list(getattr(p, values)))
    assert f"The world is version {VERSION} " in document
    for name, parts in json.loads((ROOT / "tests/golden/world.json").read_text()).items():
        if name in PRESETS:
            assert f"| {name} | {parts['scenes'][:16]} | {parts['pictures'][:16]} |" in document


def test_the_document_shows_every_task_and_names_only_what_is_there():
    document = DOCUMENT.read_text()
    assert re.findall(r"^### (\w+)$", document, re.M) == list(TASKS)
    linked = re.findall(r"\]\(world/([a-z-]+\.png)\)", document)
    wanted = {f"{preset}-{task}.png" for preset in PRESETS for task in pages.PAGES}
    assert set(linked) == wanted == {path.name for path in PICTURES.iterdir()}
    named = re.findall(r"\b(?:data_pipelines|docs|tests|focus_jax|configs)/[\w/]+\.\w+", document)
    missing = [path for path in named if not (ROOT / path).exists() and not path.endswith("shadows.py")]
    assert len(named) > 10 and not missing
    for block in re.findall(r"^```python\n(from .*?)^```", document, re.M | re.S):
        exec(compile(block, "docs/world.md", "exec"), {})


def test_pictures_are_small_and_legible():
    sizes = {path.name: path.stat().st_size for path in PICTURES.iterdir()}
    assert sum(sizes.values()) < 1.2e6, sizes
    for name in sizes:
        with Image.open(PICTURES / name) as picture:
            assert picture.mode == "P" and picture.width <= 1_100, name  # at 900 px wide letters are 11 px high


@pytest.mark.parametrize("name", ["standard-scenes", "easy-questions", "standard-edit", "hard-reasoning"])
def test_pictures_are_of_this_world(name, tmp_path):
    """Drawn anew by the command that the document gives, a picture is the one that is stored."""
    preset, task = name.split("-")
    commands = re.findall(r"^ +\.venv/bin/python -m data_pipelines\.show (.*)$", DOCUMENT.read_text(), re.M)
    loops = re.findall(r"for task in ([a-z ]+); do", DOCUMENT.read_text())
    (command,) = [command for command, tasks in zip(commands, ("scenes", *loops), strict=True) if task in tasks.split()]
    command = command.replace("$preset", preset).replace("$task", task)
    assert f"--output=docs/world/{name}.png" in command.split()
    output = tmp_path / "page.png"
    with contextlib.chdir(tmp_path):
        arguments = [word for word in command.split() if not word.startswith("--output")]
        assert show.main([*arguments, f"--output={output}"]) == 0
    with Image.open(output) as new, Image.open(PICTURES / f"{name}.png") as old:
        assert new.size == old.size, f"draw docs/world/{name}.png anew (docs/world.md says how)"
        apart = np.abs(np.asarray(new.convert("RGB")).astype(int) - np.asarray(old.convert("RGB")))
        assert apart.mean() < 1, f"draw docs/world/{name}.png anew (docs/world.md says how)"
