# Copyright 2026 The focus_jax Authors.
# SPDX-License-Identifier: Apache-2.0
"""What every file of the repository owes: headers, sizes, a core without torch, documents whose commands exist."""

import contextlib
import importlib
import importlib.util
import io
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from focus_jax.training import config as config_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADER = "# Copyright 2026 The focus_jax Authors.\n# SPDX-License-Identifier: Apache-2.0\n"
MODULES = [f"focus_jax.{n}" for n in ("train", "evaluate", "infer", "describe", "compile", "convert", "benchmark")]
MODULES += [f"data_pipelines.{n}" for n in ("prepare", "show", "world.accuracy", "world.checksum")]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "launch/README.md",
    *(f"docs/{n}.md" for n in ("architecture", "benchmarks", "tiny", "world")),
)


def files():
    """Paths git tracks or would track; a deletion that is not yet committed does not count."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [p for name in listed.stdout.split("\0") if name and (p := ROOT / name).exists()]


def test_header_stands_in_every_source_file():
    sources = [p for p in files() if p.suffix in (".py", ".sh")]
    assert len(sources) > 50
    bare = [p for p in sources if not p.read_text().removeprefix("#!/usr/bin/env bash\n").startswith(HEADER)]
    assert not bare, f"without the two header lines: {sorted(str(p.relative_to(ROOT)) for p in bare)}"


def test_size_of_every_file_is_below_two_megabytes():
    """But for the shipped checkpoints, whose sum test_assets.py holds below 12."""
    small = [p for p in files() if p.parent.name != "assets"]
    assert not {str(p.relative_to(ROOT)): p.stat().st_size for p in small if p.stat().st_size > 2 * 2**20}


def test_requirements_are_pinned_with_hashes_and_free_of_torch_and_tensorflow():
    text = re.sub(r"\s*#.*", "", (ROOT / "requirements.txt").read_text()).replace("\\\n", " ")
    pins = [line.split() for line in text.splitlines() if line.strip()]
    names = {}
    for first, *rest in pins:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==[^;\s]+", first)
        assert match, f"requirements.txt: {first} is not pinned with =="
        assert any(word.startswith("--hash=sha256:") for word in rest), f"requirements.txt: {first} has no hash"
        names[match[1].lower().replace("_", "-")] = first
    forbidden = [n for n in names if n in ("torch", "tensorflow") or n.startswith(("torch-", "tensorflow-"))]
    assert set(forbidden) <= {"tensorflow-datasets", "tensorflow-metadata"}
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.match(r"[A-Za-z0-9._-]+", d)[0].lower().replace("_", "-") for d in core}
    assert wanted <= set(names), f"not pinned: {wanted - set(names)}"


def test_third_party_table_names_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    table = (ROOT / "THIRD_PARTY_LICENSES.md").read_text()
    missing = [n for d in listed if f"| {(n := re.match(r'[A-Za-z0-9._-]+', d)[0])} |" not in table]
    assert not missing


def test_wheel_holds_every_file_of_the_packages():
    """Modules go into it by themselves; what else lies in the two packages has to be named."""
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    wanted = {ROOT / package.replace(".", "/") / name for package, names in named.items() for name in names}
    inside = [p for p in files() if p.relative_to(ROOT).parts[0] in ("focus_jax", "data_pipelines")]
    assert {p for p in inside if p.suffix != ".py"} == wanted


IMPORT = """
import importlib, importlib.abc, sys, traceback

class Absent(importlib.abc.MetaPathFinder):
    '''torch and tensorflow as on a machine that has only the core set; notes which of our files asked for them.'''
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "tensorflow"):
            asking = [f.filename for f in traceback.extract_stack() if "importlib" not in f.filename][:-1]
            if asking and "site-packages" not in asking[-1]:
                print("ASKED", name, asking[-1])
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for module in sys.argv[1:]:
    importlib.import_module(module)
print("LOADED", sorted({"torch", "tensorflow"} & set(sys.modules)))
"""


def ours(package):
    """Every module of a package but the ones that a benchmark's torch peer is made of."""
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / package).rglob("*.py")]
    names = sorted(n.removesuffix(".__init__") for n in names)
    return [n for n in names if n != "focus_jax.benchmarks.torch_tokenizer"]


def test_core_imports_without_torch_and_tensorflow():
    """All modules import on a machine without the two, and none of ours tries either (tensorboardX does, and copes)."""
    modules = ours("focus_jax") + ours("data_pipelines")
    assert {"focus_jax.training.loop", "focus_jax.train", "data_pipelines.readers.tfds"} <= set(modules)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *modules], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["LOADED []"]


def test_importing_the_package_alone_loads_no_jax():
    code = "import sys, focus_jax, data_pipelines; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


# ------------------------------------------------------------------------------------------------- command lines
def help_of(module, *argv):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main([*argv, "--help"])
    assert stopped.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("module", MODULES)
def test_help_shows_an_example(module):
    text = help_of(module)
    assert text.startswith(f"usage: python -m {module}")
    examples = [line for line in text.splitlines() if line.strip().startswith(f"python -m {module} ")]
    assert examples, f"{module} --help: expected a line `python -m {module} ...` that can be run"


def commands():
    """(document, words) of every `python -m ...` and `make ...` line in the documents' bash blocks."""
    found = []
    for name in DOCUMENTS:
        for block in re.findall(r"^ *```bash\n(.*?)^ *```", (ROOT / name).read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                    words.pop(0)
                if words[:1] == ["make"] or words[1:2] == ["-m"]:
                    found.append((name, words))
    return found


def test_documents_name_commands():
    named = {words[2] for _, words in commands() if words[1:2] == ["-m"]}
    assert set(MODULES) <= named, f"no document shows {set(MODULES) - named}"
    readme = [words for name, words in commands() if name == "README.md"]
    assert ["make", "quickstart"] in readme and ["make", "test"] in readme


@pytest.mark.parametrize("name, words", commands(), ids=lambda x: " ".join(x[:4]) if isinstance(x, list) else x)
def test_documented_command_exists(name, words):
    """Its target or module, its options, and, for a config, every field that it sets."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert all(w in targets or re.fullmatch(r"[A-Z]+=\S*", w) for w in words[1:])
        return
    module, rest = words[2], words[3:]
    assert importlib.util.find_spec(module) is not None
    if module not in MODULES:
        return
    overrides, rest = config_lib.config_overrides(rest)
    positional = [w for w in rest if re.fullmatch(r"[a-z_]+", w)][:1]
    known = help_of(module) + help_of(module, *positional)
    for word in rest:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.partition('=')[0])}\b", known), f"{name}: {module} has no {word}"
    spec = next((w.removeprefix("--config=") for w in rest if w.startswith("--config=")), None)
    if spec is not None and spec != "...":
        config_lib.load(str(ROOT / spec), overrides)


def test_readme_python_api_exists():
    from focus_jax.model import Model

    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        called = re.findall(r"\bmodel\.(\w+)\(", block)
        assert "focus_jax.load(" in block and called
        assert not [name for name in called if not hasattr(Model, name)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_inside_the_repository_resolve(name):
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / name).parent / link).exists()]
    assert not missing, f"{name} links to files that are not there: {missing}"


def test_architecture_tree_is_true():
    """Every file of the two packages, configs/ and launch/ stands in the tree of docs/architecture.md, and no other."""
    text = (ROOT / "docs/architecture.md").read_text()
    (tree,) = re.findall(r"^```text\n(focus_jax/\n.*?)^```", text, re.M | re.S)
    drawn, folders = set(), []
    for line in tree.splitlines():
        entry, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [entry] if entry.endswith("/") else []
        if not entry.endswith("/"):
            drawn.add("".join(folders) + entry)
    packages = ("focus_jax", "data_pipelines", "configs", "launch")
    paths = [p.relative_to(ROOT) for p in files()]
    real = {str(p) for p in paths if p.parts[0] in packages and p.name not in ("__init__.py", "README.md")}
    real |= {str(p) for p in paths if p.name == "__init__.py" and str(p) in drawn}
    assert drawn == real
