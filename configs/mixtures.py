# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What each stage reads, as weights (FOCUS Table 5). Every name is a folder that data_pipelines.prepare wrote.

The table names the sets of a stage and its examples in all, not each set's share; shares are then by size, and sets of
like size share alike. A set that is not there stops the run, unless config.data.allow_missing names it.
"""

# Stage II, 30M examples: LLaVA-150K has 150k; the rest is web captions, in equal halves as far as the paper tells.
STAGE2 = {"llava_instruct_150k": 0.15, "coyo": 14.9, "emova_pretrain": 14.9}

# Stage III: 5M dialogues, 3M examples with masks, 35M edits; frames of clips by their number.
STAGE3_WORDS = {"magpie": 1.0, "openorca": 1.0, "scp_116k": 0.116, "openhermes": 1.0, "opc_sft_stage1": 1.9}
STAGE3_MASKS = {
    **{"refcoco": 0.14, "refcoco+": 0.14, "refcocog": 0.09, "refclef": 0.13},
    **{"paco_lvis": 0.7, "part_imagenet": 0.3, "pascal_part": 0.3},
}
STAGE3_CLIPS = {"davis_2017": 0.004, "youtube_vis_2019": 0.06}
STAGE3_EDITS = {"ultraedit": 4.0, "anyedit": 2.5, "seed_edit": 3.7}
# Ours, in both stages: the table has no picture that words alone describe after stage I, and the paper still measures
# GenEval. Captions of pictures prepared at 512 px.
DRAWN = {"coyo": 1.0}

# Stage IV, 7M edits and what goes with them, 2M masks of reasoning and of clips, 0.5M hints (COCO-Interactive, which
# has no edits). Sets of like size share alike, as the table gives their sum alone. Ours: a fifth of stage III stays in.
STAGE4_EDITS = {"omniedit": 1.2, "anyedit": 1.2, "ultraedit": 1.2, "instruct_pix2pix": 0.45}
STAGE4_WORDS = {"emova_sft": 1.0, "pixmo": 1.0, "m4_instruct": 0.6, "magpie": 1.0}
STAGE4_MASKS = {"reason_seg": 0.001, "lisa_plus": 0.2, "coco_interactive": 0.5}
STAGE4_CLIPS = {"revos": 0.9, "ref_youtube_vos": 0.9}
KEPT = 0.2


def blended(mixture: dict[str, float], kept: dict[str, float], share: float = KEPT) -> dict[str, float]:
    """A mixture with another kept in, whose sum is `share` of all."""
    scale = share / (1 - share) * sum(mixture.values()) / sum(kept.values())
    return {name: mixture.get(name, 0.0) + scale * kept.get(name, 0.0) for name in {**mixture, **kept}}


def sources(mixture: dict[str, float], root: str = "data", **more: str) -> list[dict]:
    """config.data.sources of a mixture whose sets were prepared below `root`; more: fields of each."""
    return [{"name": name, "path": f"{root}/{name}", "reader": "", "weight": w, **more} for name, w in mixture.items()]


def world(task: str, weight: float, *more: str, preset: str = "easy", shape_class: str = "", **options: int) -> dict:
    """The world as a source of a task, and more of its tasks; shape_class: of the streams that read it, "" = all."""
    name = f"world_{task}" + (f"_{preset}" if preset != "easy" else "")
    found = {"name": name, "path": "", "reader": "world", "weight": weight}
    found["options"] = {"preset": preset, "tasks": [*more, task], **options}
    return found | ({"shape_class": shape_class} if shape_class else {})
