# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""PyTorch checkpoints in, PyTorch checkpoints out.

Into a safetensors file with our paths, which config.init and --checkpoint take:

    python -m focus_jax.convert import --format=dualvitok --source=pytorch_model.bin --output=tokenizer.safetensors
    python -m focus_jax.convert import --format=patchgan --source=disc.pth --output=discriminator.safetensors
    python -m focus_jax.convert import --format=vgg16 --source=vgg16-397923af.pth \\
        --format=lpips_lin --source=vgg.pth --output=perceptual.safetensors

    The n-th --source is of the n-th --format. Sizes are the released ones; --config=configs/stage1_tokenizer.py:tiny
    takes those of a config. Train from it with --config.init.tokenizer=tokenizer.safetensors.

    A file written with --config holds that config. DualViTok has neither fusion nor convnext; in the form illume, which
    has none either, focus_jax.load, infer and prepare codes take it as it is:

    python -m focus_jax.convert import --format=dualvitok --source=pytorch_model.bin --output=tokenizer.safetensors \\
        --config=configs/stage1_tokenizer.py --config.model.tokenizer.form=illume

Language models are folders as transformers writes them; config.json is read and checked. Qwen2.5 gets rows for the ids
that it lacks; ILLUME+ has them all, and brings its projectors (and encoders, as the parts vit and pixel_encoder):

    python -m focus_jax.convert import --format=qwen2 --source=Qwen2.5-3B-Instruct --output=weights/llm.safetensors
    python -m focus_jax.convert import --format=illume_plus --source=illume_plus_3b --output=weights/illume.safetensors

    The file says which vocabulary and text tokenizer its rows are of, and config.init refuses it for others. Without
    --config the sizes are those of config.json and the vocabulary is the released one, of 283,047 rows.

Out of a run, one of its steps, or such a file:

    python -m focus_jax.convert export --format=dualvitok --checkpoint=runs/stage1_tokenizer \\
        --output=dualvitok.safetensors

    In torch: model.load_state_dict(safetensors.torch.load_file("dualvitok.safetensors")).

    python -m focus_jax.convert export --format=qwen2 --checkpoint=runs/stage2 --output=llm

    In torch: transformers.AutoModelForCausalLM.from_pretrained("llm"). The folder holds config.json, model.safetensors
    without the padding rows, and the tokenizer of the run's config or of --text-tokenizer. --format=illume_plus writes
    ILLUME+'s layout in the same way; its code wants mm_vision_tower in config.json, which is the release's to tell.

The diffusion decoder's networks leave as folders of diffusers too, where --output names no .safetensors file:

    python -m focus_jax.convert export --format=sdxl_unet --checkpoint=runs/stage1_decoder --output=unet

    In torch: diffusers.UNet2DConditionModel.from_pretrained("unet"), and of sdxl_vae AutoencoderKL.

Formats: dualvitok (the whole tokenizer of ILLUME+, 999 keys: tokenizer/vit, tokenizer/semantic and tokenizer/pixel; for
a config with one branch that one, the other's keys are passed over and counted; fusion and convnext of the form focus
have no key in it, so that config.init needs entries of their own), patchgan, vgg16 (torchvision), lpips (the whole
LPIPS module), lpips_lin (its five lin layers alone: vgg.pth of lpips), inception (the network of FID, for evaluate
--config.inception: pt_inception-2015-12-05-6726825d.pth of pytorch-fid), qwen2 (Qwen2.5 as Qwen2ForCausalLM, tied or
not), illume_plus (ILLUME+: the same, with model.mm_projector and model.vision_tower), qwen2_vl_vision (the vision
tower out of a file of Qwen2-VL, of the tower alone or of DualViTok), mask2former and
mask2former_detectron2 (both decoders in transformers' or detectron2's names; backbone and classes are passed over, and
of more queries than the network has the first are taken), convnext (transformers' ConvNextBackbone),
convnext_classifier (its ConvNextForImageClassification), convnext_timm (timm, or the trunk of open_clip's), sdxl_unet
and sdxl_vae (diffusers' files), sdxl_unet_original and sdxl_vae_original (out of SDXL's single file, the rest of it
passed over; a UNet of 4 input channels is filled up with zeros for the codes; one of more knows codes, but ILLUME+'s
only 12 of our 22 sizes, which no file says: --config with --config.model.decoder.known=12 does, and the others are then
refused; leave it at 22 to train them), clip (CLIPModel's towers) and dino
(ViT-S/16), which evaluate --config.clip and --config.dino read. The two ConvNeXts without output maps
hold no norms of those: these are set to one and zero, and counted.
Sources: .safetensors, or torch's .pth, .pt, .bin, .ckpt, read without torch and without running code from the file; a
dictionary of tensors, or one named state_dict or model in a dictionary; of several files their .index.json.
A key that is unknown, missing or of another shape ends the command in one sentence.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from focus_jax.errors import UserError, one_sentence
from focus_jax.platforms import without_absent_tpu
from focus_jax.sequence import identity
from focus_jax.sequence.text import text_tokenizer
from focus_jax.training import config as config_lib
from focus_jax.training import store
from focus_jax.weights import files, formats, language, sdxl


def load(found: store.Catalogue, paths: Iterable[str]) -> dict[str, np.ndarray]:
    """{our path: array} of some leaves of a run directory, step directory or safetensors file, in the dtype stored."""
    targets = {
        path: jax.ShapeDtypeStruct(found.entries[path].shape, jnp.dtype(found.entries[path].dtype)) for path in paths
    }
    return {path: np.asarray(x) for path, x in store.read(found.entries, targets).items()}


def _new_file(output: str) -> epath.Path:
    path = epath.Path(output)
    if path.suffix != ".safetensors":
        raise UserError(f"--output={output}: expected a file name that ends in .safetensors.")
    return _new(path)


def _new(path: epath.Path) -> epath.Path:
    if path.exists():
        raise UserError(f"--output={path}: the file exists; choose another name or remove it.")
    return path


def _import(args: argparse.Namespace) -> None:
    if len(args.format) != len(args.source):
        raise UserError(
            f"{len(args.format)} --format and {len(args.source)} --source: expected one --source a --format."
        )
    output = _new_file(args.output)
    config = config_lib.load(args.config, args.overrides) if args.config else None
    flat: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {}
    for name, source in zip(args.format, args.source, strict=True):
        table = formats.table(name)
        llm = language.Source(name, source, config) if name in language.TABLES else None
        sdxl.check_beside(name, source, config)
        theirs = files.read_weights(llm.weights if llm else source)
        ours_shapes = llm.shapes(theirs) if llm else table.shapes(config)
        ours = table.read(theirs, ours_shapes, source)
        if twice := sorted(set(flat) & set(ours)):
            raise UserError(f"--format={name}: {twice[0]} is already given by an earlier --source.")
        left_out = table.left_out(theirs, ours)
        passed = f", {len(left_out)} keys of other parts passed over ({left_out[0]}, ...)" if left_out else ""
        constant = table.set_to_constants(ours)
        fixed = f", {len(constant)} of them not in the file but constants ({constant[0]}, ...)" if constant else ""
        print(f"{source}: {len(ours)} arrays, {sum(x.size for x in ours.values()):,} numbers{fixed}{passed}")
        if zeros := table.widened(theirs, ours_shapes):
            print(f"{source}: {', '.join(zeros)} is wider here than in the file, the rest is zero")
        elif any(ours[path].shape[axis] > count for path, axis, count in table.wider):
            print(f"{source}: {sdxl.KNOWN}")
        if llm:
            about |= llm.about
            print(f"{source}: {llm.fit(ours, args.seed)}")
        flat |= ours
    note = ", ".join(f"{name} {epath.Path(source).name}" for name, source in zip(args.format, args.source, strict=True))
    prints = store.save_safetensors(output, flat, config, f"imported: {note}", about=about)
    print(f"wrote {output}: " + ", ".join(f"{part} {fingerprint}" for part, fingerprint in prints.items()))


def _export(args: argparse.Namespace) -> None:
    table = formats.table(args.format)
    if args.format in language.TABLES:
        return _export_language(args)
    folder = args.format in sdxl.FOLDERS and epath.Path(args.output).suffix != ".safetensors"
    output = _new(epath.Path(args.output)) if folder else _new_file(args.output)
    found = store.catalogue(args.checkpoint, args.weights, "--checkpoint")
    if folder and found.config is None:
        raise UserError(f"{found.label}: has no config, which config.json is made of; name a file .safetensors.")
    about = sdxl.FOLDERS[args.format](found.config) if folder else None
    shapes = None if found.config is None else table.shapes(found.config)
    network = found.entries if shapes is None else shapes
    theirs = table.write(load(found, table.covered(found.entries, network)), shapes)
    files.write_weights(output / sdxl.FILE if folder else output, theirs, {"format": "pt"})
    if about is not None:
        (output / "config.json").write_text(json.dumps(about, indent=2) + "\n")  # makes the folder whole
    print(f"wrote {output}: {len(theirs)} arrays, {sum(x.size for x in theirs.values()):,} numbers")
    for remark in table.remarks(found.entries, network):
        print(f"{output}: {remark}")


def _export_language(args: argparse.Namespace) -> None:
    table, folder = formats.table(args.format), epath.Path(args.output)
    if folder.suffix == ".safetensors":
        raise UserError(f"--output={folder}: expected a folder, for --format={args.format} writes config.json as well.")
    _new(folder)
    found = store.catalogue(args.checkpoint, args.weights, "--checkpoint")
    target = language.target(args.format, found.label, found.config, found.about)
    spoken = args.text_tokenizer or ("none" if found.config is None else found.config.model.text_tokenizer)
    tokenizer = None if spoken == "none" else text_tokenizer(spoken, target.vocabulary)
    if tokenizer is not None:
        identity.compare(
            found.about, "text_tokenizer", tokenizer.fingerprint, f"--text-tokenizer={spoken}", found.label
        )
    shapes = target.shapes(found.entries)
    flat = load(found, table.covered(found.entries, shapes))
    target.trim(flat)
    theirs = table.write(flat, shapes)
    files.write_weights(folder / "model.safetensors", theirs, {"format": "pt"})
    if tokenizer is not None:
        language.write_tokenizer(folder, tokenizer, target.vocabulary)
    (folder / "config.json").write_text(json.dumps(target.config_json(flat), indent=2) + "\n")  # makes the folder whole
    said = f"tokenizer of {spoken}" if tokenizer is not None else "no tokenizer (--text-tokenizer names one)"
    print(f"wrote {folder}: {len(theirs)} arrays, {sum(x.size for x in theirs.values()):,} numbers, {said}")
    for remark in table.remarks(found.entries, shapes):
        print(f"{folder}: {remark}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    names = ", ".join(formats.TABLES)
    into = commands.add_parser("import", help="a PyTorch checkpoint into a safetensors file with our paths")
    into.add_argument("--format", action="append", required=True, help=names)
    into.add_argument(
        "--source",
        action="append",
        required=True,
        help=".safetensors, .pth, .pt, .bin, .ckpt or their .index.json; a language model's folder",
    )
    into.add_argument("--seed", type=int, default=0, help="of the rows that Qwen2.5 does not have (default 0)")
    into.add_argument("--output", required=True, help="FILE.safetensors")
    into.add_argument("--config", help="FILE or FILE:ARGUMENT whose sizes to expect (default: the released sizes)")
    out = commands.add_parser("export", help="a run, step or safetensors file of ours into PyTorch keys")
    out.add_argument("--format", required=True, help=names)
    out.add_argument("--checkpoint", required=True, help="run directory (best step, else last), step directory or file")
    out.add_argument("--output", required=True, help="FILE.safetensors; for a language model a folder to make")
    out.add_argument("--text-tokenizer", help="qwen, world, a folder or none (default: as the run's config)")
    out.add_argument(
        "--weights", choices=("ema", "raw"), default="ema", help="averaged parameters where there are such"
    )
    overrides, rest = config_lib.config_overrides(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(rest)
    args.overrides = overrides
    with one_sentence():
        without_absent_tpu()
        if overrides and not getattr(args, "config", None):
            raise UserError(f"{overrides[0]}: fields can be set with import --config only.")
        (_import if args.command == "import" else _export)(args)


if __name__ == "__main__":
    main()
