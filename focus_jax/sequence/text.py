# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Text to ids and back: Qwen2.5's tokenizer from public ranks or from a user's folder, and the tiny model's own.

All three are byte-level BPE, so every text has ids, and all are stripped of special tokens: a text that spells
`<|im_end|>` is letters. Special tokens stand where a layout puts them, by their ids (vocabulary.py).
"""

import base64
import functools
import hashlib
import importlib.resources
import importlib.util
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from focus_jax.errors import UserError
from focus_jax.sequence.vocabulary import Vocabulary

# Into what Qwen2 cuts a text before the merges (arXiv 2407.10671; tokenizer.json of its releases).
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RANKS = 151_643
WORLD_MERGES = "world_merges.txt"  # beside this file; world_merges.py makes it


class TextTokenizer:
    """Text <-> ids. Make one with `text_tokenizer`.

    size: ids are 0 ... size - 1. fingerprint: 16 hex digits over the bytes of every id; Qwen's is the same from ranks
    and from a folder.
    """

    def __init__(self, tokenizer: Tokenizer, size: int):
        """tokenizer: without special tokens; size: how many ids of its vocabulary are text."""
        self._tokenizer, self.size = tokenizer, size

    def encode(self, text: str) -> list[int]:
        """No special token is added or recognised. Raises: UserError for half a surrogate pair, which is no text."""
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise UserError(f"text {ascii(text[:80])}: half a surrogate pair, expected whole characters.") from e
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """What is no whole character becomes U+FFFD. Raises: UserError for an id that is no text."""
        if wrong := [i for i in ids if not 0 <= i < self.size]:
            raise UserError(f"text: id {wrong[0]} is no text, expected ids below {self.size}.")
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def with_special(self, vocabulary: Vocabulary) -> Tokenizer:
        """A tokenizer for others, which finds every named token of the vocabulary in a text, codes and ours too."""
        whole = Tokenizer.from_str(self._tokenizer.to_str())
        names = [vocabulary.name(i) for i in range(self.size, vocabulary.ours.stop)]
        whole.add_special_tokens([AddedToken(name, normalized=False) for name in names])
        if whole.token_to_id(names[-1]) != vocabulary.ours.stop - 1:
            raise UserError(
                f"text tokenizer: {names[-1]} would not get its id, for a text token is called like another."
            )
        return whole

    @functools.cached_property
    def fingerprint(self) -> str:
        tokens = sorted((i, token) for token, i in self._tokenizer.get_vocab().items() if i < self.size)
        return hashlib.sha256("\n".join(token for _, token in tokens).encode()).hexdigest()[:16]


def text_tokenizer(source: str, vocabulary: Vocabulary) -> TextTokenizer:
    """The tokenizer that a config names.

    Args:
      source: "qwen" (the ranks in the package dashscope), "world" (the tiny model's) or a local folder that
        transformers can read, such as that of a released model.

    Raises: UserError where the package or the folder is missing and where ids do not fit the vocabulary.
    """
    if source not in ("qwen", "world"):
        return from_folder(source, vocabulary)
    found = qwen() if source == "qwen" else world()
    if found.size != vocabulary.words:
        raise UserError(f"text tokenizer {source}: {found.size} ids, expected {vocabulary.words} (vocabulary.words).")
    return found


@functools.cache
def qwen() -> TextTokenizer:
    """Qwen2.5's 151,643 text ids from the ranks in the package dashscope, of which nothing is imported. Seconds, once.

    Raises: UserError where the package is missing or holds other ranks.
    """
    spec = importlib.util.find_spec("dashscope")  # finds the folder and runs none of it
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "text tokenizer qwen: the package dashscope, which holds Qwen's ranks, is missing: run "
            "`pip install --no-deps dashscope`, or name a folder with Qwen2.5's tokenizer instead."
        )
    file = pathlib.Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"
    if not file.exists():
        raise UserError(f"{file}: missing, expected Qwen's ranks: run `pip install --no-deps dashscope==2.0.2`.")
    ranks = {}
    for line in file.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    if sorted(ranks.values()) != list(range(RANKS)):
        raise UserError(
            f"{file}: {len(ranks)} ranks, expected {RANKS} without a gap: run `pip install --no-deps dashscope==2.0.2`."
        )
    letters = _letters()
    spelled = {token: "".join(letters[b] for b in token) for token in ranks}
    pairs = [(spelled[a], spelled[b]) for a, b in merges(ranks)]
    return TextTokenizer(_byte_pairs({spelled[token]: i for token, i in ranks.items()}, pairs, normalise=True), RANKS)


@functools.cache
def world() -> TextTokenizer:
    """The tiny model's: 256 bytes and the merges of the world's texts. Unlike Qwen's (NFC) it keeps every letter."""
    lines = importlib.resources.files(__package__).joinpath(WORLD_MERGES).read_text("utf-8").splitlines()
    pairs = [(a, b) for a, b in (line.split(" ") for line in lines)]
    tokens = [*_letters().values(), *(a + b for a, b in pairs)]
    return TextTokenizer(_byte_pairs({token: i for i, token in enumerate(tokens)}, pairs, normalise=False), len(tokens))


def from_folder(folder: str, vocabulary: Vocabulary) -> TextTokenizer:
    """A tokenizer of the user's, through transformers; every token of it must have the id that the vocabulary gives it.

    Raises: UserError where there is none, it is no BPE, or an id means something else.
    """
    if not pathlib.Path(folder).is_dir():
        raise UserError(f"text tokenizer {folder}: no such folder, expected qwen, world or a folder with a tokenizer.")
    from transformers import AutoTokenizer  # takes seconds, for which only who names a folder waits

    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as e:  # of any kind, bare ones too: transformers reads a damaged file as far as it gets
        reason = f"{type(e).__name__}: {str(e).strip().partition(chr(10))[0]}"
        raise UserError(f"text tokenizer {folder}: transformers reads no tokenizer there ({reason}).") from e
    backend = getattr(loaded, "backend_tokenizer", None)
    content: dict[str, Any] = (
        json.loads(backend.to_str()) if backend is not None else {"model": {"type": type(loaded).__name__}}
    )
    if content["model"]["type"] != "BPE":
        raise UserError(f"text tokenizer {folder}: its kind is {content['model']['type']}, expected Qwen2.5's BPE.")
    added = {token["id"]: token["content"] for token in content["added_tokens"]}
    words = {i: token for token, i in loaded.get_vocab().items() if i not in added}
    if sorted(words) != list(vocabulary.text):
        raise UserError(
            f"text tokenizer {folder}: {len(words)} tokens up to id {max(words, default=-1)}, expected "
            f"{vocabulary.words} without a gap (vocabulary.words)."
        )
    for i, token in sorted(added.items()):
        expected = vocabulary.name(i) if i < vocabulary.padded else "none"
        if token != expected:
            raise UserError(
                f"text tokenizer {folder}: token {i} is {token!r}, expected {expected!r}: it is of another model."
            )
    # Taken out of the list, special tokens are no longer found in a text.
    content |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return TextTokenizer(Tokenizer.from_str(json.dumps(content)), vocabulary.words)


def merges(ranks: dict[bytes, int]) -> Iterable[tuple[bytes, bytes]]:
    """The two halves of every token of more than one byte, by rank: what the merges of lower rank leave of its bytes.

    Raises: UserError for a token that no two others make up.
    """
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
            if (least := min(pairs)) >= rank:
                raise UserError(f"ranks: token {rank}, {token!r}, is not made up of two others.")
            at = pairs.index(least)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def cut() -> pre_tokenizers.PreTokenizer:
    """PATTERN, then bytes as the letters that a vocabulary spells them with."""
    pieces = pre_tokenizers.Split(Regex(PATTERN), "isolated")
    return pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _byte_pairs(vocab: dict[str, int], pairs: list[tuple[str, str]], normalise: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab, pairs))
    if normalise:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer, tokenizer.decoder = cut(), decoders.ByteLevel()
    return tokenizer


def _letters() -> dict[int, str]:
    """How byte-level vocabularies spell bytes (GPT-2's convention), in the order of their ids: bytes that print are
    themselves, the others the letters from U+0100 on."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printing]
    return {b: chr(b) for b in printing} | {b: chr(0x100 + n) for n, b in enumerate(others)}
