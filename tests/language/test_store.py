from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from recmind.config import LanguageConfig
from recmind.language import store as store_module
from recmind.language.encoder import TextEncoder
from recmind.language.store import EmbeddingStore, default_cache, text_key


class Counting(TextEncoder):
    """The real encoder, which also notes how many texts it was given."""

    encoded = 0

    def batches(self, texts):
        self.encoded += len(texts)
        return super().batches(texts)


def opened(folder, cache, **settings):
    settings = {"device": "cpu", "dtype": "float32", "batch_tokens": 64} | settings
    return EmbeddingStore(Counting.load(LanguageConfig(encoder=str(folder), **settings)), cache)


def read(store, texts):
    return store.vectors(texts, show_progress=False)


def shards(store):
    return sorted(store.folder.glob("shard-*.safetensors"))


def test_a_text_is_encoded_once_and_read_back_bit_for_bit(tiny_bert, texts, tmp_path):
    first, second = opened(tiny_bert, tmp_path), opened(tiny_bert, tmp_path)
    vectors = read(first, texts)
    assert np.array_equal(vectors, first.encoder.encode(texts, show_progress=False))
    assert np.array_equal(read(second, texts), vectors)
    assert second.encoder.encoded == 0


def test_only_changed_and_new_texts_are_encoded_again(tiny_bert, texts, tmp_path):
    before = read(opened(tiny_bert, tmp_path), texts)
    store = opened(tiny_bert, tmp_path)
    after = read(store, [*texts[:3], "w1 w1 w1", *texts[4:], "w2 w2"])
    assert store.encoder.encoded == 2
    assert np.array_equal(np.delete(after, [3, 40], axis=0), np.delete(before, 3, axis=0))


def test_equal_texts_are_encoded_once(tiny_bert, tmp_path):
    store = opened(tiny_bert, tmp_path)
    vectors = read(store, ["w1 w2", "w3", "w1 w2"])
    assert store.encoder.encoded == 2
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])


def test_no_texts_give_no_vectors(tiny_bert, tmp_path):
    assert read(opened(tiny_bert, tmp_path), []).shape == (0, 16)


def test_other_settings_of_the_encoder_have_a_folder_of_their_own(tiny_bert, tmp_path):
    mean, cls = opened(tiny_bert, tmp_path), opened(tiny_bert, tmp_path, pooling="cls")
    assert mean.folder != cls.folder
    assert not np.array_equal(read(mean, ["w1 w2"]), read(cls, ["w1 w2"]))


def test_the_manifest_says_what_made_the_vectors(tiny_bert, tmp_path):
    store = opened(tiny_bert, tmp_path)
    manifest = json.loads((store.folder / "manifest.json").read_text())
    expected = {"model", "revision", "weights_sha256", "adapters_sha256", "pooling", "dtype", "d_lm", "schema_version"}
    assert expected <= set(manifest)
    assert manifest["pooling"] == "mean"


def test_shards_are_written_as_they_fill(tiny_bert, texts, tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)
    store = opened(tiny_bert, tmp_path)
    vectors = read(store, texts)
    assert len(shards(store)) >= 3
    rows = {}
    for path in shards(store):
        content = load_file(path)
        rows |= {key.tobytes(): vector for key, vector in zip(content["keys"], content["vectors"], strict=True)}
    assert len(rows) == 40
    assert all(np.array_equal(rows[text_key(text)], vector) for text, vector in zip(texts, vectors, strict=True))


@pytest.mark.parametrize("damage", ["bit", "cut", "garbage"])
def test_a_damaged_shard_is_named_and_encoded_again(tiny_bert, texts, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)
    vectors = read(opened(tiny_bert, tmp_path), texts)
    store = opened(tiny_bert, tmp_path)
    victim = shards(store)[1]
    content = bytearray(victim.read_bytes())
    content[-5] ^= 64
    victim.write_bytes({"bit": content, "cut": content[:-100], "garbage": b"nothing"}[damage])
    with pytest.warns(UserWarning, match=f"{victim.name}: damaged"):
        again = read(store, texts)
    assert 0 < store.encoder.encoded < 40
    np.testing.assert_allclose(again, vectors, atol=2e-6)
    third = opened(tiny_bert, tmp_path)
    assert np.array_equal(read(third, texts), again)
    assert third.encoder.encoded == 0


def test_a_cache_that_cannot_be_written_is_done_without(tiny_bert, texts, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"embeddings are not kept: .*file.*language\.cache_dir"):
        store = opened(tiny_bert, tmp_path / "file")
    assert np.array_equal(read(store, texts), store.encoder.encode(texts, show_progress=False))


def test_a_disk_that_fills_up_stops_the_writing_and_not_the_work(tiny_bert, texts, tmp_path, monkeypatch):
    store = opened(tiny_bert, tmp_path)
    store.folder.joinpath("manifest.json").unlink()
    store.folder.rmdir()
    store.folder.touch()  # from now on nothing can be written below it
    monkeypatch.setattr(store_module, "SHARD_ROWS", 10)
    with pytest.warns(UserWarning, match="embeddings are not kept") as caught:
        vectors = read(store, texts)
    assert len(caught) == 1
    assert np.array_equal(vectors, store.encoder.encode(texts, show_progress=False))


def test_leftovers_of_killed_processes_are_swept_away_when_old(tiny_bert, tmp_path):
    store = opened(tiny_bert, tmp_path)
    old, young = (".shard-1.abc.partial", ".tmpCLrPWD"), (".shard-2.abc.partial", ".tmp2b3F4d")
    for name in (*old, *young):
        (store.folder / name).touch()
    for name in old:
        os.utime(store.folder / name, (time.time() - 7200, time.time() - 7200))
    opened(tiny_bert, tmp_path)
    assert {entry.name for entry in store.folder.glob(".*")} == set(young)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("RECMIND_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("RECMIND_CACHE")
    assert default_cache().parts[-2:] == (".cache", "recmind")


# Encodes slowly enough to be killed in the middle; every batch of 4 texts is a shard.
_VICTIM = """
import sys, time
from recmind.config import LanguageConfig
from recmind.language import store
from recmind.language.encoder import TextEncoder

class Slow(TextEncoder):
    def batches(self, texts):
        for number, batch in enumerate(super().batches(texts)):
            yield batch
            print(number, flush=True)
            time.sleep(0.05)

store.SHARD_ROWS = 8
config = LanguageConfig(encoder=sys.argv[1], device="cpu", dtype="float32", batch_tokens=64)
texts = sys.stdin.read().split("\\n")
store.EmbeddingStore(Slow.load(config), store.Path(sys.argv[2])).vectors(texts, show_progress=False)
"""


@pytest.mark.parametrize("after_batches", [1, 5, 9])
def test_after_a_kill_only_the_rest_is_encoded_and_the_bits_are_the_same(tiny_bert, texts, tmp_path, after_batches):
    undisturbed = read(opened(tiny_bert, tmp_path / "calm"), texts)
    arguments = [sys.executable, "-c", _VICTIM, str(tiny_bert), str(tmp_path / "killed")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdin and victim.stdout
        victim.stdin.write("\n".join(texts))
        victim.stdin.close()
        for _ in range(after_batches):
            victim.stdout.readline()
        victim.send_signal(signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL

    store = opened(tiny_bert, tmp_path / "killed")
    kept = sum(len(store_module._as_bytes(_keys(path))) for path in shards(store))
    # Of the batches seen, the last shard alone may be lost.
    sizes = [len(rows) for rows, _ in store.encoder.batches(texts)]
    store.encoder.encoded = 0
    assert kept >= sum(sizes[:after_batches]) - 8 - max(sizes)
    assert kept < 40
    resumed = read(store, texts)
    assert store.encoder.encoded == 40 - kept
    assert np.array_equal(resumed, undisturbed)


def _keys(path):
    from safetensors.numpy import load_file

    return load_file(path)["keys"]


def _fill(folder, cache, texts, barrier):
    store_module.SHARD_ROWS = 4
    store = opened(folder, cache)
    barrier.wait()
    read(store, texts)


def test_two_processes_fill_one_store(tiny_bert, texts, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    # Overlapping texts in different orders.
    jobs = [
        context.Process(target=_fill, args=(tiny_bert, tmp_path, part, barrier)) for part in (texts[:30], texts[:9:-1])
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    assert [job.exitcode for job in jobs] == [0, 0]
    store = opened(tiny_bert, tmp_path)
    vectors = read(store, texts)
    assert store.encoder.encoded == 0
    np.testing.assert_allclose(vectors, store.encoder.encode(texts, show_progress=False), atol=2e-6)
