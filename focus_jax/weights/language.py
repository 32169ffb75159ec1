# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Language models as folders that transformers reads, in and out: Qwen2.5, and ILLUME+ with its projectors.

The tables qwen2.py and illume_plus.py know the keys. Here is what a language model has beside them: config.json, the
rows of a vocabulary, and the tokenizer that its ids are of.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from focus_jax.errors import UserError
from focus_jax.sequence.embedding import extended
from focus_jax.sequence.text import TextTokenizer, from_folder
from focus_jax.sequence.vocabulary import END, PAD, RELEASED, Vocabulary
from focus_jax.weights import illume_plus, qwen2
from focus_jax.weights.shapes import sizes as section
from focus_jax.weights.table import Shape, Table

TABLES: dict[str, Table] = {t.name: t for t in (qwen2.TABLE, illume_plus.TABLE)}
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
FIELDS = {  # of config.json, and what they are called here
    "num_hidden_layers": "depth", "hidden_size": "width", "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads", "head_dim": "head_dim", "intermediate_size": "mlp", "rope_theta": "theta",
    "rms_norm_eps": "eps", "tie_word_embeddings": "tied",
}  # fmt: skip
UNTRAINED = 512  # rows at most that a Qwen2.5 has behind its last token: 271 or, in the 7B, 399
POSITIONS = 32_768  # max_position_embeddings of Qwen2.5


def read_config(path: epath.Path) -> tuple[int, dict[str, Any]]:
    """config.json -> (rows of the embedding, sizes as fields of models.qwen2.Qwen2).

    Raises: UserError for a file that is none, lacks a field, or describes what models/qwen2.py does not compute.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected the model's config beside its weights.")
    try:
        config = json.loads(path.read_text())
        rope = config.get("rope_parameters") or {}
        config |= {"rope_theta": rope.get("rope_theta", config.get("rope_theta"))}
        config.setdefault("tie_word_embeddings", False)  # Qwen2Config's own default
        if config.get("head_dim") is None:
            config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
        found, rows = {ours: config[name] for name, ours in FIELDS.items()}, int(config["vocab_size"])
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path}: expected the json of a Qwen2 config with {', '.join(FIELDS)}: {e!r}.") from e
    if missing := [name for name, ours in FIELDS.items() if found[ours] is None]:
        raise UserError(f"{path}: field {missing[0]} is missing.")
    kind = (config.get("rope_scaling") or rope).get("rope_type", "default")
    others = {"hidden_act": config.get("hidden_act", "silu"), "use_sliding_window": False, "rope_type": kind}
    others["use_sliding_window"] = config.get("use_sliding_window", False)
    for (name, value), expected in zip(others.items(), ("silu", False, "default"), strict=True):
        if value != expected:
            raise UserError(f"{path}: {name} is {value!r}, expected {expected!r}, the only one that is computed here.")
    return rows, found


class Source:
    """A language model to be imported.

    name: of TABLES. place: a folder as transformers writes it, or one of its weight files; config.json lies beside.
    config: a ConfigDict whose model.llm and model.vocabulary are expected, None for the sizes in config.json and the
    released vocabulary.
    weights: the file to read. about: what the file of ours is to say (training/store.py).

    Raises: UserError for missing files, other sizes, another vocabulary or the tokenizer of another model.
    """

    def __init__(self, name: str, place: str, config: Any):
        path = epath.Path(place)
        self.name, self.config, self.weights = name, config, path
        folder = path if path.is_dir() else path.parent
        if path.is_dir():
            there = [folder / file for file in WEIGHTS if (folder / file).is_file()]
            if not there:
                raise UserError(f"{place}: none of {', '.join(WEIGHTS)} is in this folder.")
            self.weights = there[0]
        file = folder / "config.json"
        self.rows, self.sizes = read_config(file)
        self.vocabulary = RELEASED
        if config is None:
            self.sizes |= dict(scan=True)
        else:
            self.vocabulary = Vocabulary(**section(config, "vocabulary"))
            _compare(self.sizes, section(config, qwen2.PART), file)
            self.sizes |= dict(scan=config.model.llm.scan)
        self._check_rows(file)
        self.tokenizer = (folder / "tokenizer.json").is_file()
        print_ = from_folder(str(folder), self.vocabulary).fingerprint if self.tokenizer else ""
        self.about = {
            qwen2.PART: {
                "sizes": self.sizes,
                "blocks": dataclasses.asdict(self.vocabulary),
                "vocabulary": self.vocabulary.fingerprint,
                "text_tokenizer": print_,
            }
        }

    @property
    def whole(self) -> bool:
        """Whether it has a row for every id of the vocabulary; a Qwen2.5 has none for images."""
        return self.rows == self.vocabulary.rows

    def _check_rows(self, file: epath.Path) -> None:
        stop = self.vocabulary.qwen.stop
        plain = self.name == qwen2.TABLE.name
        if not self.whole and not (plain and stop <= self.rows <= stop + UNTRAINED):
            also = f", or {stop} to {stop + UNTRAINED}, those of its text alone" if plain else ""
            raise UserError(
                f"{file}: vocab_size is {self.rows}, expected {self.vocabulary.rows}, the vocabulary's rows{also}: "
                "it is of another model."
            )

    def shapes(self, keys: Mapping[str, Any]) -> dict[str, Shape]:
        """What is to be read from a file with these keys; the embedding has the file's number of rows."""
        sizes = self.sizes | dict(rows=self.rows)
        if self.name == qwen2.TABLE.name:
            return qwen2.llm_shapes(sizes)
        return illume_plus.shapes(self.config, sizes, illume_plus.held(keys))

    def fit(self, flat: dict[str, np.ndarray], seed: int) -> str:
        """Gives embedding and output layer in {our path: array} the rows of the vocabulary on device, in place.

        Returns: what was done, for a person.
        """
        stop, rows, padded = self.vocabulary.qwen.stop, self.vocabulary.rows, self.vocabulary.padded
        paths = [path for path in (qwen2.EMBEDDING, qwen2.OUTPUT) if path in flat]
        for i, path in enumerate(paths):
            known = flat[path] if self.whole else flat[path][:stop]
            key = jax.random.fold_in(jax.random.key(seed), i)
            flat[path] = np.asarray(extended(jnp.asarray(known), self.vocabulary, key))
        said = f"{padded - rows} rows of zeros as padding to {padded}"
        if not self.whole:
            drawn = f"rows {stop} to {rows - 1} drawn with the mean and covariance of those before (seed {seed})"
            said = f"the file's rows from {stop} on, which have no token, left out; {drawn}; {said}"
        known_by = "" if self.tokenizer else "; no tokenizer.json beside it, so its text ids are not checked"
        return f"{' and '.join(paths)}: {said}{known_by}"


def _compare(found: Mapping[str, Any], expected: Any, file: epath.Path) -> None:
    wrong = {name: ours for name, ours in FIELDS.items() if found[ours] != expected[ours]}
    if wrong:
        there = ", ".join(f"{name} {json.dumps(found[ours])}" for name, ours in wrong.items())
        here = ", ".join(f"{ours} {json.dumps(expected[ours])}" for ours in wrong.values())
        raise UserError(f"{file}: {there}, expected {here} (config.model.llm): it is a model of another size.")


@dataclasses.dataclass(frozen=True)
class Target:
    """A checkpoint of ours as a folder for transformers. sizes: fields of models.qwen2.Qwen2, rows those on device."""

    name: str
    sizes: dict[str, Any]
    vocabulary: Vocabulary
    config: Any

    def shapes(self, paths: Mapping[str, Any]) -> dict[str, Shape]:
        """The network that the exported file must be complete for; without padding."""
        sizes = self.sizes | dict(rows=self.vocabulary.rows)
        if self.name == qwen2.TABLE.name:
            return qwen2.llm_shapes(sizes)
        return illume_plus.shapes(self.config, sizes, illume_plus.held(paths))

    def trim(self, flat: dict[str, np.ndarray]) -> None:
        """Leaves the padding of {our path: array} out, in place. Raises: UserError for a wrong number of rows."""
        for path in (qwen2.EMBEDDING, qwen2.OUTPUT):
            if path in flat:
                if len(flat[path]) != self.vocabulary.padded:
                    raise UserError(f"{path}: {len(flat[path])} rows, expected {self.vocabulary.padded}.")
                flat[path] = flat[path][: self.vocabulary.rows]

    def config_json(self, flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """config.json of what was trimmed."""
        own = {name: self.sizes[ours] for name, ours in FIELDS.items()}
        dtype = jnp.result_type(*{x.dtype for path, x in flat.items() if path.startswith(f"{qwen2.PART}/")})
        content = {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **own, "vocab_size": self.vocabulary.rows,
            "hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True,
            "use_sliding_window": False, "max_position_embeddings": POSITIONS, "torch_dtype": str(dtype),
            "bos_token_id": None, "eos_token_id": self.vocabulary.special[END],
            "pad_token_id": self.vocabulary.special[PAD],
        }  # fmt: skip
        if self.name == illume_plus.TABLE.name:
            mlp = dict(type="MLPProjector", mlp_depth=2)
            widths = [flat[f"projector/{name}/fc1/kernel"].shape[0] for name in ("semantic", "pixel")]
            content |= {"architectures": ["IllumeQwen2ForCausalLM"], "model_type": "illume_qwen2"}
            projector = dict(type="MixedProjector", projector_cfg1=mlp, projector_cfg2=mlp, trainable=True)
            content |= {"mm_hidden_size": widths, "mm_projector": projector}
        return content


def target(name: str, label: str, config: Any, about: Mapping[str, Any]) -> Target:
    """What to make of a checkpoint with this config or, where it has none, of what its file says of itself.

    Raises: UserError where neither tells the sizes.
    """
    if config is not None:
        sizes, blocks = section(config, qwen2.PART).to_dict(), section(config, "vocabulary").to_dict()
    elif {"sizes", "blocks"} <= set(said := about.get(qwen2.PART, {})):
        sizes, blocks = said["sizes"], said["blocks"]
    else:
        raise UserError(f"{label}: its metadata tell no sizes of a language model, expected a run or an imported file.")
    return Target(name, sizes, Vocabulary(**blocks), config)


def write_tokenizer(folder: epath.Path, tokenizer: TextTokenizer, vocabulary: Vocabulary) -> None:
    """tokenizer.json with every named token at its id, and what transformers wants beside it."""
    (folder / "tokenizer.json").write_text(tokenizer.with_special(vocabulary).to_str())
    content = dict(tokenizer_class="PreTrainedTokenizerFast", eos_token=END, pad_token=PAD, model_max_length=POSITIONS)
    (folder / "tokenizer_config.json").write_text(json.dumps(content, indent=2) + "\n")
