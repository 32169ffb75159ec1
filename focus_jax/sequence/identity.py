# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Which ids a language model was made for: fingerprints of vocabulary and text tokenizer, which travel with it."""

from collections.abc import Mapping
from typing import Any

from focus_jax.errors import UserError
from focus_jax.sequence.text import text_tokenizer
from focus_jax.sequence.vocabulary import Vocabulary

PART = "llm"
FIELDS = ("vocabulary", "text_tokenizer")


def identity(config: Any) -> dict[str, dict[str, Any]]:
    """{"llm": {"vocabulary": 16 hex digits, "text_tokenizer": 16 hex digits}}, empty for a model without a vocabulary.

    Raises: UserError where config.model.text_tokenizer cannot be read.
    """
    if "vocabulary" not in config.get("model", {}):
        return {}
    vocabulary = Vocabulary(**config.model.vocabulary)
    tokenizer = text_tokenizer(config.model.text_tokenizer, vocabulary)
    return {PART: {"vocabulary": vocabulary.fingerprint, "text_tokenizer": tokenizer.fingerprint}}


def check(about: Mapping[str, Any], config: Any, where: str) -> None:
    """Refuses a language model that was made for other ids than those of config.model.

    about: what its file says of it, as `identity`; what it does not say (a file of another origin, weights that came
    without a tokenizer) is not compared. Raises: UserError.
    """
    said = about.get(PART, {})
    own = identity(config) if any(said.get(field) for field in FIELDS) else {}
    for field, print_ in own.get(PART, {}).items():
        compare(about, field, print_, f"config.model.{field}", where)


def compare(about: Mapping[str, Any], field: str, own: str, named: str, where: str) -> None:
    """Raises: UserError where the file `where` was made for another `field` than `own`, which `named` has."""
    said = about.get(PART, {}).get(field)
    if said and said != own:
        raise UserError(
            f"{where}: its language model is of the {field} {said}, {named} is {own}, so its rows stand for other ids; "
            "take the one it was made with, or import it anew for this one."
        )
