# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained model to call from Python: arrays in, arrays out. Made by `focus_jax.load`."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from PIL import Image

from data_pipelines import buckets, transforms
from focus_jax import stages
from focus_jax.errors import UserError
from focus_jax.model_diffusion import Diffusion, pictures
from focus_jax.training import parts, sharding, store


def load(source: Any, weights: str = "ema", mesh: Mesh | None = None) -> "Model":
    """Loads a model, frozen parts from where the checkpoint says they are.

    Args:
      source: a run directory (its best step, else its last), an Orbax step directory, or a safetensors file written by
        `focus_jax.training.store.save_safetensors`.
      weights: "ema" takes the averaged parameters where the run kept some, "raw" never.
      mesh: where the parameters live, in shards by the table in the config; None is the default device.

    Raises: UserError for a source that is none of these, damaged, of another format version, or without its config.
    """
    found = store.catalogue(source, weights, "load")
    if found.config is None:
        raise UserError(
            f"{found.label}: the file's metadata have no field config, so it names no model; use it in config.init."
        )
    stage = stages.create(found.config)
    boxed = jax.eval_shape(stage.init, jax.eval_shape(lambda: jax.random.key(0)))
    names = sharding.logical_names(boxed)
    targets, held = {}, {parts.part_of(path) for path in found.entries}
    for path, x in sharding.unbox(boxed).items():
        if (part := parts.part_of(path)) in parts.TRAINING_ONLY and part not in held:
            continue
        if path not in found.entries:
            raise UserError(f"{found.label}: its config describes {path}, which the checkpoint does not hold.")
        place = None
        if mesh is not None:
            place = NamedSharding(
                mesh, sharding.partition_spec(x.shape, names[path], sharding.table(found.config), mesh)
            )
        targets[path] = jax.ShapeDtypeStruct(x.shape, jnp.dtype(found.entries[path].dtype), sharding=place)
    params = store.read(found.entries, targets)
    return Model(found.config, stage, parts.unflatten(params), found.fingerprints(params), found.label, mesh)


class Model(Diffusion):
    """Networks with their parameters.

    config: of the run that trained them; params: nested dict of parts; fingerprints: {part: 16 hex digits} of the
    parameters in use; label: where they were read from.
    """

    def __init__(
        self,
        config: ConfigDict,
        stage: Any,
        params: dict[str, Any],
        fingerprints: dict[str, str],
        label: str,
        mesh: Mesh | None,
    ):
        self.config, self.stage, self.params = config, stage, params
        self.fingerprints, self.label, self.mesh = fingerprints, label, mesh

    # ------------------------------------------------------------------------------------------------ conversations
    def chat(self, images: np.ndarray, questions: list[str], **options: Any) -> list[str]:
        """One answer to one question about each picture, uint8 [B, H, W, 3] of any size.

        options: limit (ids of an answer), sampling (inference.decode.sampling; default greedy), stops (strings).
        Raises: UserError, also for a model without a language model.
        """
        images = pictures("images", images)
        return [one.text.strip() for one in self.talk.say(*self.talk.rows(images, list(questions)), **options)]

    def choose(self, images: np.ndarray, questions: Sequence[str], options: Sequence[Sequence[str]]) -> list[int]:
        """Which of its options is the likeliest answer of each row, by log-likelihood a token. Raises: UserError."""
        return [int(np.argmax(x)) for x in self.likelihoods(images, questions, options)]

    def likelihoods(
        self, images: np.ndarray, questions: Sequence[str], options: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """The log-likelihood a token of each row's options as its answer, float32 [options]. Raises: UserError."""
        return self.talk.choose(pictures("images", images), list(questions), options)

    def segment(self, images: np.ndarray, prompts: list[Any], *, names: bool = True, rules: Any = None) -> list[Any]:
        """What prompts ask for in pictures uint8 [B, H, W, 3]: words, a list of classes, or a region bool [H, W] each.

        Words that have to be thought about are an evaluation.protocol.Question. names, rules: as in inference.segment.
        Returns: Segments of that module each. Raises: UserError, also for a model without a mask decoder.
        """
        return self._segmenter(pictures("images", images), list(prompts), names=names, rules=rules)

    def segment_video(self, frames: np.ndarray, prompt: Any, *, names: bool = True, rules: Any = None) -> Any:
        """Things in a clip, uint8 [T, H, W, 3]: by words, a list of classes, or (frame, int32 [H, W]), which marks them
        by numbers from 1. names, rules: as of `segment`.

        Returns: evaluation.protocol.Segments. Raises: UserError, also for a model without a mask decoder.
        """
        from focus_jax.inference.segment import Segmenter
        from focus_jax.inference.video import VideoSegmenter

        if not isinstance(self._segmenter, Segmenter):
            raise UserError(f"{self.label}: knows classes alone and joins none over frames, expected stage 3.")
        return VideoSegmenter(self._segmenter)(pictures("frames", frames), prompt, names=names, rules=rules)

    @functools.cached_property
    def _segmenter(self) -> Any:
        from focus_jax.inference.segment import Segmenter
        from focus_jax.inference.segment_classes import ClassSegmenter
        from focus_jax.stages import mask_former

        return ClassSegmenter(self) if isinstance(self.stage, mask_former.Stage) else Segmenter(self)

    # --------------------------------------------------------------------------------------------------------- drawing
    def generate(self, captions: list[str], *, height: int, width: int, seeds: list[int], **options: Any) -> np.ndarray:
        """A picture for each caption, uint8 [B, height, width, 3]: written as codes, then drawn.

        options: temperature, top_k, top_p, guidance (inference.decode.sampling; default the model's own), and more as
        of inference.draw.Drawer. Raises: UserError, also for a model that was taught no pictures.
        """
        return self.drawer(list(captions), height=height, width=width, seeds=seeds, **options)

    def write_codes(self, captions: list[str], *, height: int, width: int, seeds: list[int], **options: Any) -> list:
        """sequence.parse.Answer to each caption, with the codes of its picture; arguments as of `generate`."""
        return self.drawer.write(list(captions), height=height, width=width, seeds=seeds, **options)

    def code_costs(self, images: np.ndarray, captions: list[str]) -> dict[str, np.ndarray]:
        """What the codes of pictures uint8 [B, H, W, 3] cost given their captions, nats a code: float32 [B] of
        `semantic`, `pixel` and `all` codes. Raises: UserError."""
        return dict(self.drawer.costs(pictures("images", images), list(captions)))

    def edit(
        self,
        images: np.ndarray,
        instructions: list[str],
        regions: list[Any] | None = None,
        *,
        seeds: list[int],
        **options: Any,
    ) -> Any:
        """Does one instruction to each picture uint8 [B, H, W, 3]; regions: bool [H, W] that mark what is meant.

        options: as of inference.edit.Editor. Returns: evaluation.protocol.Edited; `edits` gives more. Raises:
        UserError, also for a model that was taught no edits.
        """
        from focus_jax.inference.edit import edited

        return edited(self.edits(images, instructions, regions, seeds=seeds, **options))

    def edits(
        self, images: np.ndarray, instructions: list[str], regions: list[Any] | None = None, **options: Any
    ) -> list[Any]:
        """inference.edit.Done of each picture; arguments as of `edit`."""
        return self._editor(pictures("images", images), list(instructions), regions, **options)

    def edit_video(self, frames: np.ndarray, prompt: Any, instruction: str, *, seed: int, **options: Any) -> Any:
        """Does one instruction to what a prompt (as of `segment_video`) means in a clip uint8 [T, H, W, 3], frame by
        frame from one seed. options: of inference.edit.Editor.

        Returns: evaluation.protocol.EditedClip. Raises: UserError, also where nothing is found.
        """
        from focus_jax.evaluation.protocol import EditedClip
        from focus_jax.inference.video_edit import done, edited

        frames = pictures("frames", frames)
        masks = self.segment_video(frames, prompt).ids > 0
        return EditedClip(edited(frames, done(self, frames, masks, instruction, seed=seed, **options)), masks)

    def redraw(
        self, images: np.ndarray, masks: np.ndarray | None = None, *, seeds: Any, tokens: float = 1.0, **options: Any
    ) -> np.ndarray:
        """As of a diffusion decoder alone; of stage 4 what `edit` would draw of the pictures' own codes, in its bucket,
        where they are tokenized whole."""
        if tokens != 1 or not self.edits_pictures:
            return super().redraw(images, masks, seeds=seeds, tokens=tokens, **options)
        found = self._editor.redraw(pictures("images", images), masks, seeds=seeds, **options)
        return found[0] if np.ndim(images) == 3 else found

    @property
    def edits_pictures(self) -> bool:
        """Whether it is a model of stage 4."""
        from focus_jax.stages import editing

        return isinstance(self.stage, editing.Stage)

    @property
    def redraws_under_masks(self) -> bool:
        """Whether `redraw` takes masks: not of a model of stage 4 whose decoder is told the mask tokens' states."""
        from focus_jax.models.mask_guidance import QUERIES

        return not self.edits_pictures or self._editor.form != QUERIES

    @functools.cached_property
    def _editor(self) -> Any:
        from focus_jax.inference.edit import Editor

        return Editor(self)

    @functools.cached_property
    def drawer(self) -> Any:
        from focus_jax.inference.draw import Drawer

        return Drawer(self)

    def session(self, **options: Any) -> Any:
        """A conversation of several turns: session.stream(text, pictures) gives an answer piece by piece."""
        return self.talk.session(**options)

    @functools.cached_property
    def talk(self) -> Any:
        """inference.chat.Chat of this model. Raises: UserError for a model without a language model."""
        from focus_jax.inference.chat import Chat

        return Chat(self)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Inside it, computations know the mesh and where arrays lie on it."""
        if self.mesh is None:
            yield
            return
        rules = sharding.axis_table(sharding.table(self.config))
        with jax.set_mesh(self.mesh), nn.logical_axis_rules(rules):
            yield

    # ------------------------------------------------------------------------------------------------- the tokenizer
    @property
    def high(self) -> int:
        """Long edge of the high-resolution pictures that the tokenizer reads beside the images; 0 for none."""
        return self._tokenizer.reads_high

    def grids(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """(h, w) of each branch's codes for pictures of height x width. Raises: UserError for a size that has none."""
        return self._tokenizer.grids(height, width)

    @functools.cached_property
    def codes_fingerprint(self) -> str:
        """16 hex digits of all that codes depend on; codes of another tokenizer have others."""
        from focus_jax.stages.tokenizer import codes_fingerprint

        return codes_fingerprint(self.config.model.tokenizer, self.params["tokenizer"])

    def reconstruct(
        self, images: np.ndarray, high: np.ndarray | None = None, *, decoder: str = "tokenizer", **options: Any
    ) -> np.ndarray:
        """Encodes, quantises and decodes uint8 [B, H, W, 3] (or one [H, W, 3]); returns the same shape and dtype.

        decoder: "tokenizer", whose H and W must be multiples of its stride, or "diffusion" for pictures of any size,
        with the options of `diffusion_reconstruct`. high: as in `encode`, of the tokenizer. Raises: UserError.
        """
        if decoder == "diffusion":
            if high is not None:
                raise UserError("high: given, expected none with decoder 'diffusion', which makes it of the images.")
            return self.diffusion_reconstruct(images, **options)
        if decoder != "tokenizer" or options:
            told = f"{', '.join(options)}: " if options else ""
            raise UserError(f"{told}decoder: {decoder!r}, expected 'tokenizer', without options, or 'diffusion'.")
        return self._like(images, self._run("reconstruct", *self._check(images, high)))

    def encode(self, images: np.ndarray, high: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Code indices int32 by branch, {"semantic": [B, h, w], "pixel": [B, h, w]}, of uint8 [B, H, W, 3] (or one).

        high: the same pictures uint8 [B, H', W', 3] with more pixels, for a tokenizer whose `high` is not 0; it gets
        them, or else the images, resized to that long edge. Raises: UserError.
        """
        found = self._run("encode", *self._check(images, high))
        return {name: self._like(images, x) for name, x in found.items()}

    def semantic_features(self, images: np.ndarray, high: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(decoded from semantic codes, what they are held against: the frozen tower's), both float32 [B, h, w, C].

        Arguments as in `encode`. Raises: UserError, also for a tokenizer without a semantic branch.
        """
        if self._tokenizer.semantic is None:
            raise UserError(f"{self.label}: this tokenizer has no semantic branch.")
        decoded, target = self._run("semantic_features", *self._check(images, high))
        return self._like(images, decoded), self._like(images, target)

    def decode(self, codes: Mapping[str, np.ndarray], size: tuple[int, int] | None = None) -> np.ndarray:
        """Code indices as `encode` gives them, [B, h, w] or [h, w] by branch -> uint8 [B, H, W, 3] or [H, W, 3].

        size: (H, W), needed only where there are no pixel codes. Raises: UserError as `checked_codes`.
        """
        batch, size, leading = self.checked_codes(codes, size)
        images = self._run("decode", batch, grid=tuple(side // self._tokenizer.stride for side in size))
        return images if leading else images[0]

    def checked_codes(
        self, codes: Mapping[str, np.ndarray], size: tuple[int, int] | None
    ) -> tuple[dict[str, np.ndarray], tuple[int, int], tuple[int, ...]]:
        """(codes int32 [B, h, w] by branch, (H, W) of the picture that they are of, what leads their shapes: (B,) or
        ()). size: (H, W) that they are to be of, None for what pixel codes tell.

        Raises: UserError for codes that are missing, out of range, or of grids that do not belong together or to size.
        """
        branches, arrays = self._tokenizer.branches, {name: np.asarray(x) for name, x in codes.items()}
        if set(arrays) != set(branches):
            raise UserError(f"codes: {', '.join(arrays) or 'none'}, expected those of {', '.join(branches)}.")
        for name, x in arrays.items():
            if x.ndim not in (2, 3) or not np.issubdtype(x.dtype, np.integer):
                raise UserError(f"codes: expected integers [B, h, w] or [h, w], found {name} {x.dtype}{list(x.shape)}.")
            if x.size and not (0 <= x.min() and x.max() < branches[name].codes):
                raise UserError(
                    f"codes: expected {name} codes from 0 to {branches[name].codes - 1}, found {x.min()} to {x.max()}."
                )
        if size is None:
            if "pixel" not in arrays:
                raise UserError("codes: semantic codes alone do not tell the picture's size, expected a size.")
            h, w = arrays["pixel"].shape[-2:]
            size = h * self._tokenizer.stride, w * self._tokenizer.stride
        leading = arrays[next(iter(branches))].shape[:-2]
        for name, grid in self._tokenizer.grids(*size).items():
            if arrays[name].shape != (*leading, *grid):
                raise UserError(
                    f"codes: {name} {list(arrays[name].shape)}, expected {[*leading, *grid]} for a picture of "
                    f"{size[0]} x {size[1]} pixels."
                )
        return {name: (x if leading else x[None]).astype(np.int32) for name, x in arrays.items()}, size, leading

    def codebooks(self) -> dict[str, np.ndarray]:
        """The vectors of each branch's codes, [codes, code_dim] float32."""
        return self._run("codebooks")

    @functools.cached_property
    def _tokenizer(self) -> Any:
        tokenizer = getattr(self.stage, "tokenizer", None)
        if tokenizer is None:
            raise UserError(f"{self.label}: this model has no tokenizer; its parts are {', '.join(self.fingerprints)}.")
        return tokenizer

    @functools.cached_property
    def _functions(self) -> dict[str, Any]:
        """Jitted functions of the tokenizer's parameters and batches."""
        from focus_jax.stages.tokenizer import to_float, to_uint8

        net = self._tokenizer
        encode = lambda p, *x: net.apply(p, *jax.tree.map(to_float, x), method="indices")
        decode = lambda p, codes, grid: to_uint8(net.apply(p, codes, grid, method="indices_to_images"))

        def reconstruct(p, images, high):
            grid = tuple(side // net.stride for side in images.shape[1:3])
            return decode(p, encode(p, images, high), grid)

        def semantic_features(p, images, high):
            return net.apply(p, *jax.tree.map(to_float, (images, high)), method="semantic_features")

        codebooks = lambda p: net.apply(p, method="codebooks")
        return {
            "codebooks": jax.jit(codebooks),
            "encode": jax.jit(encode),
            "decode": jax.jit(decode, static_argnames="grid"),
            "reconstruct": jax.jit(reconstruct),
            "semantic_features": jax.jit(semantic_features),
        }

    def _run(self, name: str, *batch: Any, **static: Any) -> Any:
        """The function called `name` on batches (trees of arrays with rows first), as numpy arrays."""
        function, params = self._functions[name], {"params": self.params["tokenizer"]}
        if self.mesh is None:
            return jax.tree.map(np.asarray, function(params, *jax.tree.map(jnp.asarray, batch), **static))
        rows = sharding.batch_sharding(self.mesh, sharding.table(self.config))
        whole = NamedSharding(self.mesh, PartitionSpec())
        ways = sharding.batch_ways(self.mesh.shape, sharding.table(self.config))
        fits = all(len(x) % ways == 0 for x in jax.tree.leaves(batch))
        with jax.set_mesh(self.mesh):
            out = function(params, *jax.device_put(batch, rows if fits else whole), **static)
            return jax.tree.map(np.asarray, jax.device_put(out, whole))

    def _check(self, images: np.ndarray, high: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The pictures with a row axis, and those of the long edge `high` where the tokenizer reads such."""
        images = pictures("images", images)
        self._tokenizer.grids(*images.shape[1:3])
        if not self.high:
            return images, None
        high = images if high is None else pictures("high", high)
        size = height, width = buckets.high_size(images.shape[1:3], self.high)
        if len(high) != len(images) or abs(high.shape[1] * width - high.shape[2] * height) > max(high.shape[1:3]):
            raise UserError(
                f"high: {list(high.shape)}, expected the {len(images)} images at another size of the same aspect."
            )
        if high.shape[1:3] != size:
            high = np.stack([np.asarray(transforms.resized(Image.fromarray(x), size)) for x in high])
        return images, high

    @staticmethod
    def _like(images: np.ndarray, batch: np.ndarray) -> np.ndarray:
        return batch[0] if np.ndim(images) == 3 else batch
