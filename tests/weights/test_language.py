# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""Language models in and out of transformers' folders, through the command line: rows, logits, tokenizer, refusals."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import models
from focus_jax.errors import UserError
from focus_jax.models.qwen2 import qwen2
from focus_jax.sequence.embedding import extended
from focus_jax.sequence.text import from_folder, world
from focus_jax.sequence.vocabulary import END, QUERY, RELEASED, Vocabulary
from focus_jax.training import config as config_lib
from focus_jax.training import parts, store
from focus_jax.weights import illume_plus, language
from focus_jax.weights import qwen2 as table
from tests.test_convert import assert_same, fails, run

TINY = "configs/stage2.py:tiny"
VOCABULARY = Vocabulary(**models.vocabulary("tiny"))
STOP, ROWS, PADDED = VOCABULARY.qwen.stop, VOCABULARY.rows, VOCABULARY.padded
LLM = dict(models.llm("tiny", PADDED))
UNTIED = "--config.model.llm.tied=False"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def hf_config(rows, **changes):
    """config.json of the tiny model, as transformers 4 writes it."""
    own = {name: LLM[ours] for name, ours in language.FIELDS.items()}
    return (
        own | {"vocab_size": rows, "model_type": "qwen2", "hidden_act": "silu", "use_sliding_window": False} | changes
    )


def arrays(shapes, of=language.TABLES["qwen2"], seed=0):
    """{their key: random array} for {our path: shape}."""
    rng = np.random.default_rng(seed)
    return {
        k: np.asarray(rng.standard_normal(shape) / max(1, shape[-1]) ** 0.5, np.float32)
        for k, (*_, shape) in of.keys(shapes).items()
    }


def write(folder, theirs, config):
    folder.mkdir()
    save_file(theirs, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def qwen(tmp_path, rows=STOP + 10, name="theirs", **changes):
    """A folder with a random Qwen2.5 of the tiny sizes; tie_word_embeddings among the changes to its config.json."""
    tied = changes.get("tie_word_embeddings", True)
    theirs = arrays(table.llm_shapes(LLM | dict(rows=rows, tied=tied)))
    return write(tmp_path / name, theirs, hf_config(rows, **changes)), theirs


def imported(tmp_path, source, *more, form="qwen2", name="ours"):
    output = tmp_path / f"{name}.safetensors"
    run("import", f"--format={form}", f"--source={source}", f"--output={output}", f"--config={TINY}", *more)
    return output


# ---- Qwen2.5


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_qwen_lacks_are_drawn(tmp_path, capsys, tied):
    source, theirs = qwen(tmp_path, tie_word_embeddings=tied)
    more = [] if tied else [UNTIED]
    ours = load_file(str(imported(tmp_path, source, "--seed=3", *more)))
    said = capsys.readouterr().out
    assert f"rows {STOP} to {ROWS - 1} drawn with the mean and covariance of those before (seed 3)" in said
    assert f"{PADDED - ROWS} rows of zeros as padding to {PADDED}" in said and "text ids are not checked" in said
    for i, (path, key) in enumerate(((table.EMBEDDING, EMBEDDING), (table.OUTPUT, HEAD))[: 1 if tied else 2]):
        key_of = jax.random.fold_in(jax.random.key(3), i)
        expected = extended(jnp.asarray(theirs[key][:STOP]), VOCABULARY, key_of)
        np.testing.assert_array_equal(ours[path], expected)
    assert (table.OUTPUT in ours) is not tied
    again = load_file(str(imported(tmp_path, source, *more, name="seed0")))
    np.testing.assert_array_equal(again[table.EMBEDDING][:STOP], ours[table.EMBEDDING][:STOP])
    assert np.abs(again[table.EMBEDDING][STOP:ROWS] - ours[table.EMBEDDING][STOP:ROWS]).max() > 0.01


@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back_is_the_identity(tmp_path, tied):
    """Of all rows; the second import draws nothing. Their folder again gives our file again."""
    more = [] if tied else [UNTIED]
    source, theirs = qwen(tmp_path, rows=ROWS, tie_word_embeddings=tied)
    ours = imported(tmp_path, source, *more)
    run("export", "--format=qwen2", f"--checkpoint={ours}", f"--output={tmp_path}/back")
    assert_same(tmp_path / "back" / "model.safetensors", theirs)
    assert_same(imported(tmp_path, tmp_path / "back", *more, name="again"), load_file(str(ours)))


def test_shards_in_bfloat16(tmp_path):
    source, theirs = qwen(tmp_path, rows=ROWS)
    halves = {k: x.astype(jnp.bfloat16) for k, x in theirs.items()}
    index = {key: f"model-{i % 2}.safetensors" for i, key in enumerate(halves)}
    for file in set(index.values()):
        save_file({k: halves[k] for k in index if index[k] == file}, str(source / file))
    (source / "model.safetensors").unlink()
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    run("export", "--format=qwen2", f"--checkpoint={imported(tmp_path, source)}", f"--output={tmp_path}/back")
    assert_same(tmp_path / "back" / "model.safetensors", halves)
    assert json.loads((tmp_path / "back" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert load_file(str(tmp_path / "back" / "model.safetensors"))[EMBEDDING].dtype == jnp.bfloat16


def test_a_config_is_not_needed(tmp_path, monkeypatch):
    """Sizes then come from config.json, in stacked layers, and stand in the file for the way back."""
    monkeypatch.setattr(language, "RELEASED", VOCABULARY)
    source, _ = qwen(tmp_path)
    ours = tmp_path / "ours.safetensors"
    run("import", "--format=qwen2", f"--source={source}", f"--output={ours}")
    assert "llm/layers/q/kernel" in load_file(str(ours)) and store.catalogue(ours).config is None
    run("export", "--format=qwen2", f"--checkpoint={ours}", f"--output={tmp_path}/back")
    flat = load_file(str(imported(tmp_path, tmp_path / "back", name="again")))
    np.testing.assert_array_equal(flat[table.EMBEDDING], load_file(str(ours))[table.EMBEDDING])
    flat |= {table.EMBEDDING: flat[table.EMBEDDING][:ROWS]}
    shapes = table.llm_shapes(LLM | dict(rows=ROWS))
    assert_same(tmp_path / "back" / "model.safetensors", table.TABLE.write(flat, shapes))


@pytest.mark.slow
@pytest.mark.parity
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_the_folder(tmp_path, tied):
    """Same logits, same ids of every token, and nothing in the folder that it does not know."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = hf_config(STOP + 10, tie_word_embeddings=tied)
    reference = Qwen2ForCausalLM(Qwen2Config(**config | {"bos_token_id": None, "eos_token_id": None}))
    reference.save_pretrained(tmp_path / "theirs")  # config.json in the words of the transformers that is installed
    ours = imported(tmp_path, tmp_path / "theirs", *([] if tied else [UNTIED]))
    run("export", "--format=qwen2", f"--checkpoint={ours}", f"--output={tmp_path}/back")
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    assert type(theirs).__name__ == "Qwen2ForCausalLM" and theirs.config.vocab_size == ROWS
    assert theirs.config.tie_word_embeddings is tied and not any(info.values())
    x = np.random.default_rng(0).integers(0, ROWS, (2, 40))
    model = qwen2(**LLM | dict(tied=tied))
    params = parts.unflatten(load_file(str(ours)))["llm"]
    y = model.apply({"params": params}, x, method=lambda m, x: m.logits(m(m.embed(x))))
    with torch.no_grad():
        np.testing.assert_allclose(y[..., :ROWS], theirs(torch.from_numpy(x)).logits.numpy(), atol=2e-5)
        text = x % STOP  # what came in says the same of its own ids, before and after
        mine, its = (m(torch.from_numpy(text)).logits.numpy()[..., :STOP] for m in (theirs, reference.eval()))
        np.testing.assert_allclose(mine, its, atol=2e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "back")
    assert tokenizer("a red circle").input_ids == world().encode("a red circle")
    assert tokenizer.eos_token_id == VOCABULARY.special[END] == theirs.config.eos_token_id
    names = [VOCABULARY.name(i) for i in range(VOCABULARY.words, VOCABULARY.ours.stop)]
    assert tokenizer.convert_tokens_to_ids(names) == list(range(VOCABULARY.words, VOCABULARY.ours.stop))
    assert tokenizer(f"red{QUERY}").input_ids == [*world().encode("red"), VOCABULARY.special[QUERY]]
    assert from_folder(str(tmp_path / "back"), VOCABULARY).fingerprint == world().fingerprint


def test_a_run_without_its_tokenizer(tmp_path, capsys):
    source, _ = qwen(tmp_path, rows=ROWS)
    ours = imported(tmp_path, source)
    command = ("export", "--format=qwen2", f"--checkpoint={ours}", f"--output={tmp_path}/back", "--text-tokenizer=none")
    run(*command)
    assert "no tokenizer" in capsys.readouterr().out and not (tmp_path / "back" / "tokenizer.json").exists()
    assert "the file exists" in fails(capsys, *command)
    assert "expected a folder" in fails(capsys, *command[:3], f"--output={tmp_path}/back.safetensors")


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"hidden_size": 128}, "hidden_size 128, expected width 96 (config.model.llm): it is a model of another size."),
        (
            {"num_hidden_layers": 28, "tie_word_embeddings": False},
            "num_hidden_layers 28, tie_word_embeddings false, expected depth 4, tied true (config.model.llm)",
        ),
        ({"rope_theta": 1e6}, "rope_theta 1000000.0, expected theta 10000.0"),
        ({"rope_theta": None}, "field rope_theta is missing"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type is 'yarn', expected 'default'"),
        ({"use_sliding_window": True}, "use_sliding_window is True, expected False"),
        ({"vocab_size": ROWS - 1}, f"vocab_size is {ROWS - 1}, expected {ROWS}, the vocabulary's rows, or {STOP} to"),
        ({"vocab_size": STOP - 1}, f"vocab_size is {STOP - 1}, expected {ROWS}"),
        ({"vocab_size": STOP + 11}, f"{EMBEDDING} has shape [{STOP + 10}, 96], expected [{STOP + 11}, 96]"),
    ],
)
def test_another_size_is_named(tmp_path, capsys, changes, sentence):
    source, _ = qwen(tmp_path)
    (source / "config.json").write_text(json.dumps(hf_config(STOP + 10, **changes)))
    output = tmp_path / "new.safetensors"
    said = fails(capsys, "import", "--format=qwen2", f"--source={source}", f"--output={output}", f"--config={TINY}")
    assert sentence in said and str(source) in said and not output.exists()


def test_one_key_wrong(tmp_path, capsys):
    _, theirs = qwen(tmp_path)
    key = "model.layers.1.mlp.up_proj.weight"
    for i, (change, sentence) in enumerate((
        ({key: None}, f"format qwen2 expects keys that are missing: {key}"),
        ({"model.layers.4.mlp.up_proj.weight": theirs[key]}, "unknown keys for format qwen2: model.layers.4.mlp.up"),
        ({key: theirs[key][:5]}, f"{key} has shape [5, 96], expected [192, 96]"),
        ({"model.mm_projector.projector_1.0.bias": theirs[key]}, "unknown keys for format qwen2: model.mm_projector."),
    )):  # fmt: skip
        wrong = {k: x for k, x in (theirs | change).items() if x is not None}
        source = write(tmp_path / f"wrong{i}", wrong, hf_config(STOP + 10))
        new = f"--output={tmp_path}/new.safetensors"
        assert sentence in fails(capsys, "import", "--format=qwen2", f"--source={source}", new, f"--config={TINY}")


def test_a_folder_that_is_none(tmp_path, capsys):
    source, _ = qwen(tmp_path)
    command = ("import", "--format=qwen2", f"--output={tmp_path}/new.safetensors", f"--config={TINY}")
    (source / "config.json").unlink()
    assert "config.json: no such file, expected the model's config" in fails(capsys, *command, f"--source={source}")
    (tmp_path / "empty").mkdir()
    assert "none of model.safetensors, " in fails(capsys, *command, f"--source={tmp_path}/empty")
    store.save_safetensors(tmp_path / "bare.safetensors", {"llm/norm/scale": np.ones(4, np.float32)}, None)
    bare = ("export", "--format=qwen2", f"--checkpoint={tmp_path}/bare.safetensors", f"--output={tmp_path}/out")
    assert "tell no sizes of a language model" in fails(capsys, *bare)


# ---- ILLUME+


def illume(tmp_path, encoders=(), name="illume", **tensors):
    config = config_lib.load(TINY)
    shapes = illume_plus.shapes(config, LLM | dict(rows=ROWS), encoders)
    theirs = arrays(shapes, illume_plus.TABLE) | tensors
    return write(tmp_path / name, theirs, hf_config(ROWS, model_type="illume_qwen2")), theirs


@pytest.mark.parametrize("encoders", [(), ("vit", "pixel_encoder")])
def test_illume_there_and_back(tmp_path, capsys, encoders):
    source, theirs = illume(tmp_path, encoders)
    ours = imported(tmp_path, source, form="illume_plus")
    assert f"{PADDED - ROWS} rows of zeros" in capsys.readouterr().out
    flat = load_file(str(ours))
    assert {parts.part_of(path) for path in flat} == {"llm", "projector", *encoders}
    assert len(flat[table.EMBEDDING]) == PADDED and not flat[table.EMBEDDING][ROWS:].any()
    np.testing.assert_array_equal(
        flat["projector/pixel/fc1/kernel"], theirs["model.mm_projector.projector_2.0.weight"].T
    )
    run("export", "--format=illume_plus", f"--checkpoint={ours}", f"--output={tmp_path}/back")
    assert ("it holds no model.vision_tower" in capsys.readouterr().out) is not bool(encoders)
    assert_same(tmp_path / "back" / "model.safetensors", theirs)
    content = json.loads((tmp_path / "back" / "config.json").read_text())
    assert content["model_type"] == "illume_qwen2" and content["mm_hidden_size"] == [192, 8]
    assert_same(imported(tmp_path, tmp_path / "back", form="illume_plus", name="again"), flat)


@pytest.mark.slow
def test_illume_is_strict(tmp_path, capsys):
    key = "model.vision_tower.semantic_encoder.merger.ln_q.bias"
    for i, (change, sentence) in enumerate((
        ({"model.mm_projector.projector_2.2.bias": None}, "keys that are missing: model.mm_projector.projector_2.2.b"),
        ({"model.image_newline": np.ones(4, np.float32)}, "unknown keys for format illume_plus: model.image_newline"),
        ({key: None}, f"keys that are missing: {key}"),
    )):  # fmt: skip
        _, theirs = illume(tmp_path, ("vit",), f"right{i}")
        wrong = {k: x for k, x in (theirs | change).items() if x is not None}
        source = write(tmp_path / f"wrong{i}", wrong, hf_config(ROWS))
        command = ("import", "--format=illume_plus", f"--source={source}", f"--output={tmp_path}/new.safetensors")
        assert sentence in fails(capsys, *command, f"--config={TINY}")
    source, _ = qwen(tmp_path)
    command = ("import", "--format=illume_plus", f"--source={source}", f"--output={tmp_path}/new.safetensors")
    said = fails(capsys, *command, f"--config={TINY}")
    assert f"vocab_size is {STOP + 10}, expected {ROWS}, the vocabulary's rows: it is of another model." in said


def test_released_keys():
    """ILLUME+ 3B: its released rows, widths and count; the encoders' keys are those of its tokenizer."""
    is_seen = re.compile(r"semantic_encoder\.model\.|pixel_encoder\.")
    keys = illume_plus.TABLE.keys(illume_plus.shapes())
    count = lambda prefix: sum(key.startswith(prefix) for key in keys)
    assert keys["model.embed_tokens.weight"][-1] == (283_047, 2048) == (RELEASED.rows, 2048)
    assert np.prod(keys["model.embed_tokens.weight"][-1]) == 579_680_256
    assert keys["model.mm_projector.projector_1.0.weight"][-1] == (2048, 3584)
    assert keys["model.mm_projector.projector_2.0.weight"][-1] == (2048, 32)
    assert count("model.layers.") == 36 * 12 and count("model.mm_projector.") == 8
    released = json.loads((pathlib.Path(__file__).parent / "dualvitok_keys.json").read_text())
    seen = [k.replace("semantic_encoder.model.", "semantic_encoder.") for k in released if is_seen.match(k)]
    assert {f"model.vision_tower.{k}" for k in seen} == {k for k in keys if "vision_tower" in k}
    assert len(keys) == 2 + 36 * 12 + 8 + len(seen)
    assert RELEASED == Vocabulary(**models.vocabulary("full"))


# ---- which ids it was made for


def test_a_file_says_its_ids(tmp_path, monkeypatch, capsys):
    """The tokenizer beside the weights is checked, and both fingerprints go into the file."""
    source, _ = qwen(tmp_path, rows=ROWS)
    language.write_tokenizer(source, world(), VOCABULARY)
    ours = imported(tmp_path, source)
    assert "text ids are not checked" not in capsys.readouterr().out
    about = store.catalogue(ours).about["llm"]
    assert about["vocabulary"] == VOCABULARY.fingerprint and about["text_tokenizer"] == world().fingerprint
    command = ("export", "--format=qwen2", f"--checkpoint={ours}", f"--output={tmp_path}/back")
    monkeypatch.setattr("focus_jax.convert.text_tokenizer", lambda *_: type("Other", (), {"fingerprint": "f" * 16}))
    assert "its language model is of the text_tokenizer" in fails(capsys, *command)

    other = tmp_path / "other"
    language.write_tokenizer(qwen(tmp_path, rows=ROWS, name="other")[0], world(), VOCABULARY)
    content = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(content.replace(QUERY, "<|other|>"))
    with pytest.raises(UserError, match=rf"is '<\|other\|>', expected .*{QUERY[2:5]}.* it is of another model"):
        language.Source("qwen2", str(other), config_lib.load(TINY))
