# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Masks for people and programs: a picture of ids, run lengths as COCO writes them, an overlay with a legend."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from focus_jax.evaluation.protocol import Segments

LINE, MARGIN = 16, 4  # height of a line of the legend and space around it, pixels
NOTHING = "nothing there"
RECORD = "segment.json"  # what was found, in the output folder


def colours(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ as far as so many can: hues a golden section apart."""
    hues = [(i * 0.618034) % 1.0 for i in range(count)]
    return [tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.85, 1.0)) for hue in hues]  # type: ignore[misc]


def id_picture(segments: Segments) -> Image.Image:
    """The ids as a palette PNG, 0 black, or with more than 255 segments in 16 bits."""
    if len(segments.names) > 255:
        return Image.fromarray(segments.ids.astype(np.uint16))
    out = Image.fromarray(segments.ids.astype(np.uint8))
    out.putpalette([0, 0, 0, *(c for colour in colours(len(segments.names)) for c in colour)])
    return out


def entries(segments: Segments) -> list[dict[str, Any]]:
    """JSON of each segment: id, name, score, area in pixels, box (x, y, width, height), segmentation in COCO's run
    lengths (what pycocotools.mask.decode reads), of ranked instances the whole mask."""
    out = []
    for k, (name, score) in enumerate(zip(segments.names, segments.scores), 1):
        runs = run_lengths(segments.ids == k if segments.masks is None else segments.masks[k - 1])
        entry = {"id": k, "name": name, "score": round(float(score), 4), "area": int(coco.area(runs))}
        entry["box"] = [float(x) for x in coco.toBbox(runs)]
        out.append(entry | {"segmentation": runs})
    return out


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """bool [H, W] -> COCO's compressed run lengths {size, counts}, plain enough for JSON."""
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in runs["size"]], "counts": runs["counts"].decode()}


def tinted(picture: np.ndarray, segments: Segments) -> np.ndarray:
    """uint8 [H, W, 3] with its segments tinted and outlined."""
    shown = picture.astype(np.float32)
    for k, colour in enumerate(colours(len(segments.names)), 1):
        inside = segments.ids == k
        shown[inside] = 0.5 * shown[inside] + 0.5 * np.array(colour)
        padded = np.pad(inside, 1)
        within = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
        shown[inside & ~within] = colour
    return shown.astype(np.uint8)


def overlay(picture: np.ndarray, segments: Segments) -> Image.Image:
    """The picture `tinted`, with the names of its segments below."""
    palette = colours(len(segments.names))
    called = [" ".join(name.split()) for name in segments.names]
    told = [f"{name} {score:.2f}" for name, score in zip(called, segments.scores)] or [NOTHING]
    height, width = picture.shape[:2]
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    widths = [round(probe.textlength(text)) + LINE + 2 * MARGIN for text in told]
    out = Image.new("RGB", (max(width, *widths), height + LINE * len(told) + 2 * MARGIN), "white")
    out.paste(Image.fromarray(tinted(picture, segments)))
    draw = ImageDraw.Draw(out)
    for line, text in enumerate(told):
        top = height + MARGIN + LINE * line
        if segments.names:
            draw.rectangle((MARGIN, top + 2, MARGIN + LINE - 6, top + LINE - 4), fill=palette[line])
        draw.text((MARGIN + LINE, top + 1), text, fill="black")
    return out
