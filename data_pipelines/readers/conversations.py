# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What a conversation must be to become turns: all readers of dialogues check it here."""

from data_pipelines.errors import DataError
from data_pipelines.example import PLACEHOLDER, Turn

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def messages(conversation: object, key: str) -> list[tuple[str, str]]:
    """[{from, value}, ...], as LLaVA and ShareGPT write them, as (role, text). Raises: DataError."""
    if not isinstance(conversation, list) or not conversation:
        raise DataError(f"{key}: conversations is {_kind(conversation)}, expected a list of {{from, value}}.")
    out = []
    for i, message in enumerate(conversation):
        said = message if isinstance(message, dict) else {}
        role, text = said.get("from"), said.get("value")
        if not isinstance(role, str) or role.lower() not in ROLES:
            raise DataError(f"{key}: conversations[{i}].from is {role!r}, expected one of {', '.join(ROLES)}.")
        if not isinstance(text, str):
            raise DataError(f"{key}: conversations[{i}].value is {_kind(text)}, expected text.")
        out.append((ROLES[role.lower()], text))
    return out


def turns(said: list[tuple[str, str]], images: int, key: str) -> list[Turn]:
    """Turns of (role, text): a system's if it says something, then user and assistant in turn.

    The placeholders of the user's texts stand for the `images` pictures in order. Raises: DataError for another order,
    an empty question or answer, and placeholders that are not as many as the pictures.
    """
    out, shown = [], 0
    if said and said[0][0] == "system":
        if text := said[0][1].strip():
            out.append(Turn(role="system", text=text))
        said = said[1:]
    if not said or len(said) % 2:
        raise DataError(f"{key}: {len(said)} turns, expected user and assistant in turn, the last by the assistant.")
    for i, (role, text) in enumerate(said):
        expected, text = ("user", "assistant")[i % 2], text.strip()
        if role != expected:
            raise DataError(f"{key}: turn {i} is the {role}'s, expected the {expected}'s: turns alternate.")
        if not text:
            what = "answer" if i % 2 else "question"
            raise DataError(f"{key}: turn {i} is an empty {what}, expected words.")
        count = text.count(PLACEHOLDER)
        if count and i % 2:
            raise DataError(f"{key}: turn {i} has {PLACEHOLDER}, expected it in the user's turns only.")
        out.append(Turn(role=role, text=text, images=list(range(shown, shown + count))))
        shown += count
    if shown != images:
        raise DataError(f"{key}: {shown} times {PLACEHOLDER} for {images} images, expected one for each.")
    return out


def _kind(value: object) -> str:
    return "empty" if value in ([], "") else type(value).__name__
