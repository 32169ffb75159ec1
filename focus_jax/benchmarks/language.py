# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""The language model beside transformers on torch, with the same weights and ids, both on CPU in float32.

  python -m focus_jax.benchmark language [--part=train,decode]

Parts:
  train   forward, cross-entropy over the vocabulary (ours in blocks) and the gradients of all parameters
  decode  greedy answers of a batch of prompts of different lengths, prompt included, both with a cache

Layers have the sizes of Qwen2.5-0.5B. There are fewer of them and a smaller vocabulary, so that both models fit and a
round takes seconds; the output says how many. Losses and ids are compared before any time is taken. Repeats are
interleaved and medians compared; compilation is not counted. Needs torch (pip install "focus_jax[convert]").
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.benchmarks.beside_torch import Step, compare, import_torch, our_step, torch_step
from focus_jax.errors import UserError
from focus_jax.inference import decode
from focus_jax.inference.structure import bucket, words_only
from focus_jax.models.qwen2 import Qwen2, qwen2
from focus_jax.ops.cross_entropy import cross_entropy
from focus_jax.training.parts import flatten
from focus_jax.weights import qwen2 as table

GOALS = {"train": 1.0, "decode": 1.5}  # ratio ours / torch of each part
LAYERS = dict(width=896, heads=14, kv_heads=2, head_dim=64, mlp=4864)  # of Qwen2.5-0.5B (arXiv 2412.15115, Table 1)
DEPTH, ROWS = 24, 151_936  # how many it has, and rows of its vocabulary
PAD = 0


class Both(NamedTuple):
    """One model twice: ours, its parameters, transformers', and the parameters under its keys."""

    ours: Qwen2
    params: Any
    theirs: Any
    weights: dict[str, np.ndarray]


def both(*, rows: int, depth: int, **layers: int) -> Both:
    """rows: of the vocabulary; depth: layers; layers: their sizes, as LAYERS. The weights are random."""
    import_torch()
    from transformers import Qwen2Config, Qwen2ForCausalLM

    ours = qwen2(rows=rows, depth=depth, **layers)
    rng = np.random.default_rng(0)

    def drawn(path: Any, x: jax.ShapeDtypeStruct) -> np.ndarray:
        """Matrices loud enough for losses and ids to depend on every layer."""
        if x.ndim == 1:
            return np.full(x.shape, path[-1].key == "scale", np.float32)
        std = 0.02 if path[-1].key == "rows" else x.shape[0] ** -0.5
        return std * rng.standard_normal(x.shape, np.float32)

    shapes = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, 1, ours.width)))
    params = jax.device_put(jax.tree_util.tree_map_with_path(drawn, nn.unbox(shapes)["params"]))
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=ours.width,
        intermediate_size=ours.mlp,
        num_hidden_layers=depth,
        num_attention_heads=ours.heads,
        num_key_value_heads=ours.kv_heads,
        head_dim=ours.head_dim,
        rms_norm_eps=ours.eps,
        rope_parameters={"rope_type": "default", "rope_theta": ours.theta},
        tie_word_embeddings=ours.tied,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=PAD,
    )
    config._attn_implementation = "sdpa"
    flat = {f"{table.PART}/{path}": np.asarray(x) for path, x in flatten(params).items()}
    weights = table.TABLE.write(flat, {path: x.shape for path, x in flat.items()})
    if ours.tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return Both(ours, params, Qwen2ForCausalLM(config), weights)


def train(model: Both, *, batch: int, length: int) -> dict[str, Step]:
    """Steps on `batch` rows of `length` random ids; the loss is the mean over all that are to be said."""
    torch = import_torch()
    ids = np.random.default_rng(0).integers(1, model.ours.rows, (batch, length)).astype(np.int32)

    def loss(params: Any, ids: jax.Array) -> jax.Array:
        def run(m: Qwen2) -> jax.Array:
            hidden = m(m.embed(ids))
            return cross_entropy(hidden[:, :-1], m.head(), ids[:, 1:]).nll.mean()

        return model.ours.apply({"params": params}, method=run)

    theirs = torch.from_numpy(ids.astype(np.int64))
    return {
        "ours": our_step(loss, model.params, ids),
        "torch": torch_step(
            model.theirs.train(),
            model.weights,
            lambda: model.theirs(input_ids=theirs, labels=theirs, use_cache=False).loss,
        ),
    }


def answers(model: Both, *, batch: int, length: int, new: int) -> dict[str, Step]:
    """Greedy answers of `new` ids to `batch` prompts of length / 2 to `length` random ids.

    Raises: UserError where the two say different ids, for then the two are not the same work.
    """
    torch = import_torch()
    rng = np.random.default_rng(0)
    counts = np.linspace(length // 2, length, batch).astype(np.int32)
    prompts = [rng.integers(1, model.ours.rows, n) for n in counts]
    ours, params = model.ours, model.params
    every, settings = words_only(ours.rows, [range(ours.rows)], ()), decode.sampling(batch)
    padded = np.stack([np.pad(p, (0, bucket(length) - len(p)), constant_values=PAD) for p in prompts])
    embed = jax.jit(lambda params, ids: ours.apply({"params": params}, ids, method="embed"))

    def our_ids() -> np.ndarray:
        state = decode.begin(ours, rows=batch, slots=bucket(length + new))
        state, _ = decode.read(ours, params, state, embed(params, padded), counts)
        limits = np.full(batch, new, np.int32)
        return np.asarray(decode.say(ours, params, every, settings, state, limits, steps=new)[1].ids)

    theirs = model.theirs.eval()
    theirs.load_state_dict({key: torch.from_numpy(np.array(x)) for key, x in model.weights.items()})
    left = torch.tensor([[PAD] * (length - len(p)) + p.tolist() for p in prompts])
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts])

    def their_ids() -> np.ndarray:
        with torch.no_grad():
            return theirs.generate(left, attention_mask=mask, max_new_tokens=new, do_sample=False)[:, length:].numpy()

    wanted = their_ids()
    if (our_ids() != wanted).any():
        raise UserError("benchmark decode: the ids differ from those of transformers' generate.")

    def step(ids: Any) -> Step:
        return lambda: float(np.mean(ids() == wanted))

    return {"ours": step(our_ids), "torch": step(their_ids)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.benchmark language",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--part", metavar="NAMES", default=",".join(GOALS), help="what is measured (default: %(default)s)")
    for name, size in LAYERS.items():
        flag = f"--{name.replace('_', '-')}"
        add(flag, metavar="N", type=int, default=size, help="of the layers (default: Qwen2.5-0.5B's %(default)s)")
    for name, default, what in (
        ("depth", 4, "layers"),
        ("rows", 16_384, "of the vocabulary"),
        ("repeats", 5, "of each part"),
        ("train-batch", 2, "train: rows of the batch"),
        ("train-length", 256, "train: ids a row"),
        ("train-steps", 1, "train: timed a repeat"),
        ("decode-batch", 4, "decode: prompts"),
        ("decode-length", 64, "decode: ids of the longest prompt"),
        ("decode-new", 64, "decode: ids of an answer"),
        ("decode-steps", 1, "decode: timed a repeat"),
    ):
        add(f"--{name}", metavar="N", type=int, default=default, help=f"{what} (default: %(default)s)")
    return parser


def main(argv: Sequence[str]) -> dict:
    """Prints the figures of every part and returns them, {part: figures}."""
    args = vars(_parser().parse_args(argv))
    names = args["part"].split(",")
    if unknown := [name for name in names if name not in GOALS]:
        raise UserError(f"--part={args['part']}: no part {unknown[0]!r}, expected some of {','.join(GOALS)}")
    shared = {key: args[key] for key in (*LAYERS, "depth", "rows")}
    model = both(**shared)
    print(
        f"layers {args['depth']} ({DEPTH}) of width {args['width']}, rows {args['rows']:,} ({ROWS:,}); in brackets",
        end=" ",
    )
    print("Qwen2.5-0.5B; float32, CPU")
    found = {}
    for part in names:
        sizes = {key.removeprefix(f"{part}_"): x for key, x in args.items() if key.startswith(f"{part}_")}
        counts = dict(steps=sizes.pop("steps"), repeats=args["repeats"])
        sides = {"train": train, "decode": answers}[part](model, **sizes)
        figures = compare(part, sides, batch=sizes["batch"], **counts) | sizes | shared
        found[part] = figures
        ids = sizes["length" if part == "train" else "new"]
        print(f"step   {part}, batch {sizes['batch']}, {ids} ids a row")
        print(f"ours   {ids * figures['examples_per_second']:8.1f} ids per second")
        print(f"torch  {ids * figures['torch_examples_per_second']:8.1f} ids per second")
        print(f"ratio  {figures['ratio']:8.3f} (goal {GOALS[part]})")
    return found
