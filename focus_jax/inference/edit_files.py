# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Edits as files: of every instruction its result, mask and codes; a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from focus_jax.evaluation.protocol import Segments
from focus_jax.inference import masks, reconstruct
from focus_jax.inference.edit import Done

PANEL, BAND, GAP = 256, 20, 8  # pixels: longer side of a panel, its title, between panels
Turn = tuple[str, np.ndarray, Done]  # instruction, the picture it was given uint8 [H, W, 3], what was done


def told(done: Done) -> str:
    """What was meant, in words."""
    if done.refused:
        return "nothing in the picture is meant, and nothing was changed"
    if done.whole:
        return "the whole picture"
    if not done.mask.any():
        return "nothing in the picture is meant, and it is drawn without a mask"
    return ", ".join(done.names) or "what is marked"


def write(output: epath.Path, name: str, turns: Sequence[Turn], fingerprint: str) -> list[dict[str, Any]]:
    """The files of every turn, and the sheet; fingerprint: of the tokenizer. Returns: of every turn what was done."""
    entries = []
    for k, (text, _, done) in enumerate(turns, 1):
        for kind, image in (("", done.image), (".mask", done.marked.astype(np.uint8) * 255)):
            with (output / f"{name}.edit{k}{kind}.png").open("wb") as to:
                Image.fromarray(image).save(to, format="PNG")
        reconstruct.save_codes(output / f"{name}.edit{k}{reconstruct.CODES}", done, fingerprint)
        entries.append(
            {"instruction": text, "meant": list(done.names), "whole": done.whole, "refused": done.refused}
            | {"area": int(done.marked.sum())}
        )
    with (output / f"{name}.sheet.png").open("wb") as to:
        sheet(turns).save(to, format="PNG")
    return entries


def sheet(turns: Sequence[Turn]) -> Image.Image:
    """Source, mask and result of every turn side by side, instruction and what was meant above."""
    height, width = turns[0][1].shape[:2]
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    lines = [(text, f"meant: {told(done)}", "result") for text, _, done in turns]
    step = max(size[0], 7 * max(len(line) for row in lines for line in row)) + GAP
    out = Image.new("RGB", (3 * step - GAP, len(turns) * (size[1] + BAND + GAP) - GAP), "white")
    draw = ImageDraw.Draw(out)
    for k, ((_, source, done), row) in enumerate(zip(turns, lines)):
        names = (told(done),) if done.marked.any() else ()
        segments = Segments(done.marked.astype(np.int32), names, (1.0,) * len(names))
        panels = source, masks.tinted(source, segments), done.image
        for i, (line, panel) in enumerate(zip(row, panels)):
            at = i * step, k * (size[1] + BAND + GAP)
            draw.text((at[0], at[1] + 4), line, fill="black")
            out.paste(Image.fromarray(panel).resize(size, Image.Resampling.LANCZOS), (at[0], at[1] + BAND))
    return out
