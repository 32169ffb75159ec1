# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks by name: `python -m focus_jax.evaluate --config=configs/eval.py:NAME --checkpoint=DIR`.

reconstruction          the tokenizer on held-out photographs: PSNR, SSIM, perceptual distance, rFID, codebook usage;
                        with --config.decoder=diffusion the diffusion decoder instead, in figures of that name
diffusion               pictures drawn from codes by the diffusion decoder, beside the tokenizer's own
world_reconstruction    the same on the world, and what the checker reads off the reconstructions
standins                linear probes on the stand-ins' features at the centres of objects
questions               answers to questions about pictures
text_slots              the same questions, asked of stage 0's language model about scenes that are given as words
segmentation            by words, by a marked region, panoptic
latents                 what stage 0's autoencoder gives back, and what its UNet foretells
classes                 panoptic alone, which stage 0's mask decoders can do
video                   objects followed through clips
codes                   how well the codes of pictures are foretold from captions, and whether they make a picture
generation              pictures drawn from captions, read by the checker
editing                 instructions followed, and what they should have left alone
video_edits             the same of clips
localisation            whether the decoder draws where its mask says

On files of the benchmarks' authors, which the user has (configs/eval_files.py):

pope, mme               yes or no
mmbench, seedbench, ai2d, mmmu              one of several options
textvqa, chartqa, docvqa, infovqa, ocrbench     a few words
refcoco, refcoco_plus, refcocog, grefcoco, reason_seg, ref_davis, revos     masks of words
coco_panoptic, coco_instances, youtube_vis  masks of classes: PQ and mIoU, mask AP, mask AP of clips
coco_interactive, davis masks of hints, of things marked in a clip's first frame
emu_edit, instruct_pix2pix, magicbrush      edits: CLIP-I, CLIP-T, CLIP-DIR, DINO
mjhq, geneval, genai_bench                  pictures of prompts: FID, a detector's verdict, VQAScore

open_NAME, of a benchmark of the world, measures on the split `open`: shapes in colours that no training scene shows.
Its figures are called open_FIGURE. Another preset beside it: --config.data.preset=hard --config.label=hard
"""

from ml_collections import ConfigDict

from configs import eval_files


def get_config(name: str = "reconstruction") -> ConfigDict:
    of_world = (
        world_reconstruction,
        diffusion,
        latents,
        questions,
        text_slots,
        segmentation,
        classes,
        video,
        codes,
        generation,
        editing,
        video_edits,
        localisation,
    )
    world = {f.__name__: f for f in of_world}
    known = {f.__name__: f for f in (reconstruction, standins)} | world | eval_files.BENCHMARKS
    plain = name.removeprefix("open_")
    if plain not in (known if plain == name else world):
        raise ValueError(
            f"configs/eval.py:{name}: expected one of {', '.join(known)}, or open_ before one of {', '.join(world)}."
        )
    c = known[plain]()
    if plain != name:
        c.label, c.data.split = "open", "open"
    return c


def reconstruction() -> ConfigDict:
    c = ConfigDict()
    c.evaluator = "reconstruction"  # focus_jax/evaluation/reconstruction.py
    c.label = "photographs"  # put before the benchmark's and every figure's name
    c.data = ConfigDict()
    c.data.name = "photographs"
    c.data.path = "data/photographs"  # made by data_pipelines.prepare; photographs make themselves
    c.data.reader = "photographs"
    c.data.split = "test"
    c.height = c.width = 64  # bucket
    c.batch_size = 32
    c.limit = 1_000  # pictures at most, the first of the split
    # Safetensors file with our paths perceptual/*, made by `convert import` from torchvision's VGG16 and LPIPS weights.
    # "" = random features of fixed seed; the figure is then called perceptual_random.
    c.perceptual = ""
    # The same with our paths inception/*, from the weights of pytorch-fid (--format=inception); "" = no rfid. With few
    # pictures rfid comes out too high, so that it compares only with one of as many pictures.
    c.inception = ""
    # The same with paths clip_pictures/* and dino/* (--format=clip, --format=dino): similarities in those features.
    c.clip = c.dino = ""
    c.shown = 16  # pictures in the report
    return _decoder(c)


def _decoder(c: ConfigDict) -> ConfigDict:
    """What draws pictures from codes: "" for the tokenizer's own decoder, or "diffusion", which draws with `drawing`
    (inference.diffusion.Options) from `seed`; its figures are called diffusion_FIGURE."""
    c.decoder, c.seed, c.drawing = "", 0, ConfigDict({"steps": 30, "guidance": 1.5, "scheduler": "ddim"})
    return c


def _world(evaluator: str, side: int, scenes: int = 1_000) -> ConfigDict:
    c = ConfigDict()
    c.evaluator = evaluator
    c.label = ""  # put before the benchmark's and every figure's name
    c.data = ConfigDict()
    c.data.reader = "world"
    c.data.preset = "easy"
    c.data.split = "test"
    c.data.first = 0  # index of the first scene
    c.data.scenes = scenes
    c.side = side  # pixels of the pictures
    c.batch_size = 32
    c.shown = 16  # items in each gallery of the report
    return c


def world_reconstruction() -> ConfigDict:
    c = _world("reconstruction", side=64)
    c.perceptual = c.inception = c.clip = c.dino = ""  # as in reconstruction
    c.probe_scenes = 4_000  # of the split train, on which probes of semantic features learn
    return _decoder(c)


def diffusion() -> ConfigDict:
    c = _world("diffusion", side=64, scenes=512)
    c.steps, c.scheduler = 30, "ddim"
    c.seed = 0
    c.guidance = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of which the best on `chosen_on` scenes of validation is taken
    c.chosen_on = 64
    c.mean_of = 128  # scenes of which eight samples are averaged
    return c


def latents() -> ConfigDict:
    c = _world("latents", side=64)
    c.seed = 0  # of times and noise
    return c


def standins() -> ConfigDict:
    c = ConfigDict()
    c.evaluator = "standins"
    c.label = ""
    c.presets = ("easy", "standard")
    c.split = "test"
    c.scenes = 1_000  # of each preset
    c.probe_scenes = 4_000  # of each preset's train split, on which the probes learn
    c.sides = ConfigDict({"vit": 64, "convnext": 128})
    c.batch_size = 64
    return c


def questions() -> ConfigDict:
    c = _world("questions", side=128)
    c.per_scene = 2
    c.blind_scenes = 5_000  # of the split train, from whose questions the blind answers are learnt
    return c


def text_slots() -> ConfigDict:
    c = questions()
    c.evaluator = "text_slots"
    return c


def segmentation() -> ConfigDict:
    c = _world("segmentation", side=128)
    c.referring = 2  # expressions a scene; kinds that a scene does not allow give way to others
    c.reasoning = 1
    c.asked = ("words", "regions", "classes")
    return c


def classes() -> ConfigDict:
    c = segmentation()
    c.asked = ("classes",)
    return c


def video() -> ConfigDict:
    c = _world("video", side=128, scenes=200)  # each scene is the start of a clip
    c.frames = 6  # of every clip, so that all have one shape
    c.shown = 8
    return c


def _drawn(c: ConfigDict) -> ConfigDict:
    """How pictures are made: seed; sampling, of their codes (inference.decode.sampling); drawing, of pixels by the
    diffusion decoder (inference.diffusion.Options). Empty: as the model does it by itself."""
    c.seed, c.sampling, c.drawing = 0, ConfigDict(), ConfigDict()
    return c


def generation() -> ConfigDict:
    return _drawn(_world("generation", side=64))


def codes() -> ConfigDict:
    c = generation()
    c.evaluator = "codes"
    return c


def editing() -> ConfigDict:
    c = _world("editing", side=128, scenes=2_000)
    c.absent_every = 2  # of so many scenes one gets an instruction that means nothing in it
    return _drawn(c)


def video_edits() -> ConfigDict:
    c = _drawn(_world("video_edits", side=128, scenes=50))  # each scene is the start of a clip
    c.frames, c.shown = 6, 8
    return c


def localisation() -> ConfigDict:
    c = _drawn(_world("localisation", side=64, scenes=100))  # of two things
    c.cell = 4  # pixels a side of a latent's cell
    return c
