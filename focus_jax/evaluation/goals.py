# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every stage is for, what its figures mean and how good they should be.

Two kinds of numbers that must not be mixed up: goals are ours, for the tiny model on the procedural world, one for each
budget (docs/tiny.md); published figures are those of FOCUS, arXiv 2506.16806, at full size and on other data.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Mapping

HIGHER, LOWER = "higher", "lower"
MET, MISSED, OPEN = "met", "missed", "not judged"  # OPEN: the figure that the goal refers to was not measured


@dataclasses.dataclass(frozen=True)
class Goal:
    """bound; or bound * figure `share_of`, or bound + figure `above`, both figures of the same stage; or bound + the
    figure of the stage `kept_of` that stands behind after_, less two standard errors of the change."""

    bound: float
    share_of: str = ""
    above: str = ""
    kept_of: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """name: of a figure or a pattern such as `probe_*`; ladder, long: its goal at that budget, None for none."""

    name: str
    meaning: str
    ladder: float | Goal | None = None
    long: float | Goal | None = None
    better: str = HIGHER
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure of the paper as printed there. remark: what to know before comparing anything with it."""

    figure: str
    value: str
    table: str
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Stage:
    """remark: on all of the published figures."""

    title: str
    figures: tuple[Figure, ...] = ()
    published: tuple[Published, ...] = ()
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """goal: in words, such as '≥ 26 dB'; mark: MET, MISSED or OPEN; rule: how the goal follows from another figure;
    kept_of: as of the Goal."""

    goal: str
    mark: str
    rule: str = ""
    kept_of: str = ""


_PIXEL = "share of pixel codes that held-out pictures hit"

STAGES: dict[str, Stage] = {
    "standins": Stage(
        "Stage 0: stand-ins for public weights",
        (
            Figure("vit_shape", "objects whose shape a probe on the ViT names", 0.90, 0.90),
            Figure("vit_colour", "objects whose colour a probe on the ViT names", 0.97, 0.97),
            Figure("convnext_shape", "objects whose shape a probe on the ConvNeXt names", 0.95, 0.95),
            Figure("convnext_colour", "objects whose colour a probe on the ConvNeXt names", 0.98, 0.98),
            Figure("text_slot_accuracy*", "questions of this type answered about a scene given as text", 0.95, 0.95),
            Figure("things_pq", "panoptic quality of the objects by Mask2Former's stand-in", 0.60, 0.60),
            Figure("vae_psnr", "closeness of what the VAE gives back", 30.0, 30.0, unit="dB"),
            Figure("unet_error", "mean square error of what the UNet foretells without codes", better=LOWER),
        ),
    ),
    "stage1_tokenizer": Stage(
        "Stage 1: tokenizer",
        (
            Figure("psnr", "closeness of reconstructions, mean over pictures", 26.0, 28.0, unit="dB"),
            Figure("psnr_of_mean_picture", "what a model reaches that ignores its input", unit="dB"),
            Figure("ssim", "structural similarity of reconstructions"),
            Figure("lpips", "perceptual distance of reconstructions", better=LOWER),
            Figure("perceptual_random", "distance in the features of a random network; not LPIPS", better=LOWER),
            Figure("rfid", "Frechet distance of reconstructions' Inception features", better=LOWER),
            Figure("readback_colour", "objects whose colour the checker reads off the reconstruction", 0.95, 0.95),
            Figure("readback_count", "pictures whose number of objects it reads off", 0.95, 0.95),
            Figure("readback_place", "objects whose place it reads off", 0.95, 0.95),
            Figure("readback_shape", "objects whose shape it reads off", 0.60, 0.90),
            Figure("readback_size", "objects whose size it reads off"),
            Figure("readback_object", "objects whose shape, colour, size and place it reads off"),
            Figure("readback_ground", "pictures whose ground it reads off"),
            Figure("photographs_*", "the same of photographs, which this run never saw"),
            Figure("standard_*", "the same of a harder preset of the world, which only the long run sees"),
            Figure("pixel_codebook_usage", _PIXEL, 0.6, 0.6),
            Figure("pixel_codebook_perplexity", "effective number of pixel codes: exp of their entropy"),
            Figure(
                "semantic_cosine",
                "cosine of decoded semantic features with the frozen encoder's",
                Goal(0.2, above="mean_feature_cosine"),
                Goal(0.2, above="mean_feature_cosine"),
            ),
            Figure("mean_feature_cosine", "the same cosine for one constant vector, the mean feature"),
            Figure("semantic_codebook_usage", "share of semantic codes that held-out pictures hit", 0.3, 0.3),
            Figure("semantic_codebook_perplexity", "effective number of semantic codes: exp of their entropy"),
            Figure(
                "probe_kept", "share of a probe's accuracy that survives the semantic codes, worst attribute", 0.9, 0.9
            ),
            Figure("probe_*", "objects whose attribute a probe names from decoded semantic features"),
        ),
    ),
    "stage1_decoder": Stage(
        "Stage 1b: diffusion decoder",
        (
            Figure("psnr_gap", "how far one sample falls short of the tokenizer's own decoder", 4.0, 3.0, LOWER, "dB"),
            Figure("psnr_gap_mean8", "the same for the mean of eight samples", 2.0, 1.0, LOWER, "dB"),
            Figure("psnr", "closeness of one sample to the picture whose codes it is drawn from", unit="dB"),
            Figure("movq_psnr", "the same of the tokenizer's own decoder", unit="dB"),
            Figure("vae_psnr", "closeness of what the autoencoder gives back, without codes", unit="dB"),
            Figure(
                "readback_colour",
                "objects whose colour the checker reads off the sample",
                Goal(-0.03, above="movq_readback_colour"),
                Goal(-0.03, above="movq_readback_colour"),
            ),
            Figure(
                "readback_shape",
                "objects whose shape it reads off",
                Goal(-0.05, above="movq_readback_shape"),
                Goal(-0.05, above="movq_readback_shape"),
            ),
            Figure("movq_readback_*", "the same of the tokenizer's own decoder"),
            Figure("photographs_diffusion_*", "of photographs, which no run ever saw, drawn by the diffusion decoder"),
            Figure("photographs_*", "of photographs given back by the tokenizer's own decoder, not by diffusion"),
            Figure("diffusion_*", "of pictures drawn by the diffusion decoder"),
        ),
    ),
    "stage2": Stage(
        "Stage 2: projector and adapter",
        (
            Figure(
                "question_accuracy",
                "questions about pictures answered right",
                Goal(0.9, share_of="text_slot_accuracy"),
                0.90,
            ),
            Figure("question_accuracy_*", "the same, questions of one type"),
            Figure("text_slot_accuracy*", "the same questions when the scene is given as text, without a picture"),
            Figure("blind_accuracy", "the most frequent answer to the same question in training, without looking"),
            Figure("majority_accuracy", "the most frequent answer to the question's template"),
            Figure("pope_*", "yes or no on objects that are there or not (POPE)"),
            Figure("mme_*", "yes or no in pairs about a picture (MME): sums of scores, or shares by category"),
            Figure("mmbench_accuracy*", "one of several options, asked once (MMBench)"),
            Figure("seedbench_accuracy*", "one of four options about a picture (SEED-Bench)"),
            Figure("ai2d_accuracy*", "one of several options about a diagram (AI2D)"),
            Figure("mmmu_accuracy*", "one of several options about one picture, by subject (MMMU)"),
            Figure("textvqa_accuracy", "questions about text in photographs, VQA accuracy"),
            Figure("chartqa_accuracy*", "questions about charts, relaxed accuracy"),
            Figure("docvqa_anls", "questions about pages, similarity of the answer"),
            Figure("infovqa_anls", "questions about infographics, similarity of the answer"),
            Figure(
                "ocrbench_accuracy*", "text read or understood (OCRBench): share of answers that hold the right one"
            ),
        ),
        (
            Published("POPE / MMBench / SEED", "88.0 / 81.5 / 73.9", "Table 1"),
            Published("MME-P / MM-Vet / MMMU / AI2D", "1570.3 / 50.2 / 44.9 / 74.5", "Table 1"),
            Published("VQA-text / ChartQA / DocVQA / InfoVQA", "70.4 / 70.3 / 81.1 / 44.3", "Table 1"),
            Published("OCRBench", "678", "Table 1"),
        ),
        "They are of the final model, after all stages.",
    ),
    "stage3": Stage(
        "Stage 3: language model and mask decoder",
        (
            Figure("referring_ciou", "IoU of the named object's mask, intersections and unions summed", 0.65, 0.75),
            Figure("referring_ciou_attributes", "the same where attributes name the object", 0.75, 0.75),
            Figure("box_iou", "IoU of the object marked by a box", 0.75, 0.85),
            Figure("scribble_iou", "IoU of the object marked by a scribble", 0.72, 0.80),
            Figure("mask_iou", "IoU of the object marked by a rough mask", 0.75, 0.85),
            Figure("point_iou", "IoU of the object marked by a point", 0.70, 0.80),
            Figure("things_pq", "panoptic quality of the objects, ground left out", 0.45, 0.60),
            Figure("no_target_accuracy", "expressions without a target answered by no mask", 0.80, 0.85),
            Figure("video_jf", "J&F of objects followed through clips, all frames but the first", 0.55, 0.65),
        ),
        (
            Published("RefCOCO val / testA / testB", "84.1 / 86.3 / 82.7", "Table 3"),
            Published("RefCOCO+ val / testA / testB", "78.5 / 84.1 / 74.3", "Table 3"),
            Published("RefCOCOg val / test", "79.3 / 79.8", "Table 3"),
            Published("gRefCOCO val / testA / testB", "48.7 / 58.5 / 53.0", "Table 3"),
            Published("ReasonSeg gIoU / cIoU", "62.1 / 58.6", "Table 7"),
            Published("ReVOS overall J&F", "56.7", "Table 7"),
            Published("COCO-Interactive box / scribble / mask / point, IoU", "83.4 / 82.7 / 85.2 / 78.6", "Table 8"),
            Published("DAVIS17 J&F", "79.1", "Table 9", "DAVIS17 is among the training data"),
            Published("Ref-YouTube-VOS / Ref-DAVIS J&F", "69.3 / 72.4", "Table 9"),
            Published("YouTube-VIS mAP", "65.7", "Table 9"),
        ),
        "Those of Table 3 it calls mIoU, where others report cIoU.",
    ),
    "stage4": Stage(
        "Stage 4: instruction tuning, drawing and editing",
        (
            Figure("generation_one_colour", "drawn objects of the colour asked for, one object a picture", 0.80, 0.90),
            Figure("generation_place", "drawn objects at the place asked for, one object a picture", 0.90, 0.95),
            Figure(
                "generation_object",
                "objects asked for that are in the picture",
                Goal(0.4, share_of="generation_ceiling"),
                Goal(0.7, share_of="generation_ceiling"),
            ),
            Figure("generation_ceiling", "the same of pictures drawn from the true codes"),
            Figure(
                "edit_success",
                "edits in which the asked change is read back and all else kept",
                Goal(0.4, share_of="edit_ceiling"),
                Goal(0.7, share_of="edit_ceiling"),
            ),
            Figure("edit_ceiling", "the same of pictures drawn from the target's true codes under the true mask"),
            Figure("leakage", "share of what an edit should have left alone and did change", 0.05, 0.02, LOWER),
            Figure("composite_leakage", "the same where the edit is pasted inside its mask only", 0.0, 0.0, LOWER),
            Figure("guidance_localisation", "pixels that a mask changes that lie under it", 0.70, 0.70),
            Figure("refusal_accuracy", "right decisions on what is not there and what is", 0.80, 0.80),
            Figure("mask_iou_of_edits", "IoU of the model's mask with what is to be edited"),
            Figure("video_edit_success", "frames of a clip in which the asked change is read back and all else kept"),
            Figure("video_edit_ceiling", "the same of frames drawn from true codes under true masks"),
            Figure("flicker", "how much drawing adds to the change from frame to frame, 8-bit levels", better=LOWER),
            Figure("after_majority_accuracy", "the most frequent answer, on the questions that are asked again"),
            Figure("after_blind_accuracy", "answers without looking, on the questions that are asked again"),
            Figure(
                "after_*",
                "a figure of stage 3, after this stage",
                Goal(-0.02, kept_of="stage3"),
                Goal(-0.02, kept_of="stage3"),
            ),
        ),
        (
            Published("MJHQ-30K FID (lower is better)", "6.05", "Table 2"),
            Published("GenAI-bench basic / advanced", "0.83 / 0.72", "Table 2"),
            Published("GenEval overall", "0.75", "Table 2", "single object is printed as 1.20, which cannot be"),
            Published("Emu Edit DINO / CLIP-I", "0.826 / 0.872", "Table 4"),
            Published("Emu Edit CLIP-T / CLIP-DIR", "0.275 / 0.101", "Table 4"),
        ),
    ),
}


def figure(stage: str, name: str) -> Figure | None:
    """What is known of a stage's figure; None for a stage or figure without an entry."""
    known = STAGES[stage].figures if stage in STAGES else ()
    return next((f for f in known if fnmatch.fnmatchcase(name, f.name)), None)


def judge(
    stage: str,
    name: str,
    budget: str,
    figures: Mapping[str, float],
    before: Mapping[tuple[str, str], tuple[float, float]] | None = None,
) -> Verdict | None:
    """A figure against its goal at a budget; None where it has none.

    figures: all values of the stage, for goals that refer to another one. before: by earlier stage and figure of this
    one, (the earlier value, standard error of the change), for goals that refer to that stage (evaluation/kept.py).
    Rounding (1e-9) is forgiven.
    """
    known = figure(stage, name)
    goal = _goal(known, budget) if known else None
    if known is None or goal is None:
        return None
    other, reference = goal.share_of or goal.above or goal.kept_of, 0.0
    if goal.kept_of:
        earlier, error = (before or {}).get((goal.kept_of, name), (math.nan, 0.0))
        reference = earlier - 2 * error
    elif other:
        reference = figures.get(other, math.nan)
    if math.isnan(reference):  # it was not measured
        return Verdict(_words(known, goal), OPEN)
    bound = goal.bound * reference if goal.share_of else goal.bound + reference
    value = figures[name]
    near = math.isclose(value, bound, rel_tol=1e-9, abs_tol=1e-9)
    met = near or (value > bound if known.better == HIGHER else value < bound)
    words = _words(known, Goal(float(f"{bound:.4g}")))
    return Verdict(words, MET if met else MISSED, _words(known, goal)[2:] if other else "", goal.kept_of)


def unmeasured(stage: str, budget: str, figures: Mapping[str, float]) -> list[tuple[Figure, str]]:
    """(figure, goal in words) for every goal of a stage that no figure answers."""
    known = STAGES[stage].figures if stage in STAGES else ()
    goals = [(f, _goal(f, budget)) for f in known if not fnmatch.filter(figures, f.name)]
    return [(f, _words(f, goal)) for f, goal in goals if goal is not None]


def _goal(known: Figure, budget: str) -> Goal | None:
    goal = {"ladder": known.ladder, "long": known.long}.get(budget)
    return Goal(goal) if isinstance(goal, float) else goal


def _words(known: Figure, goal: Goal) -> str:
    sign = "≥" if known.better == HIGHER else "≤"
    number = f"{goal.bound:g}" + (f" {known.unit}" if known.unit else "")
    if goal.share_of:
        return f"{sign} {number} × {goal.share_of}"
    if goal.kept_of:
        return f"{sign} {goal.kept_of}'s {goal.bound:+g}, less two standard errors"
    return f"{sign} {goal.above} + {number}" if goal.above else f"{sign} {number}"
