from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from recmind.config import ProfilesConfig
from recmind.errors import DataError
from recmind.text.chat.cache import FILE, Answer, AnswerCache, answer_key

MESSAGES = [{"role": "user", "content": "tea"}]


def key(messages: list[dict[str, str]] = MESSAGES, keys: tuple[str, ...] = ("profile",), **changes: object) -> bytes:
    return answer_key(ProfilesConfig(**{"model": "m", **changes}), keys, messages)


class TestKey:
    @pytest.mark.parametrize(
        "change", [{"model": "n"}, {"temperature": 0.1}, {"max_tokens": 8}, {"json_mode": True}, {"max_words": 8}]
    )
    def test_depends_on_model_and_sampling(self, change: dict[str, object]):
        assert key(**change) != key()

    def test_depends_on_the_messages_and_what_is_accepted(self):
        assert key([{"role": "system", "content": "tea"}]) != key()
        assert key(keys=()) != key()

    def test_does_not_depend_on_how_it_is_asked(self):
        assert key(base_url="http://other/v1", api_key_env="KEY", timeout=1.0, concurrency=1) == key()


def test_answers_come_back_and_the_first_stays(tmp_path: Path):
    answer, other = Answer("likes tea", None, 100, 20, 1.5), Answer("likes jam")
    with AnswerCache(tmp_path / "new" / "folder") as cache:
        cache.write(b"a", "m", answer)
        cache.write(b"a", "m", other)
        cache.write(b"a", "m", Answer(None, "late failure"))
    with AnswerCache(tmp_path / "new" / "folder") as cache:
        assert cache.read([b"a", b"b", b"a"]) == {b"a": answer}


def test_a_failure_is_replaced_by_what_comes_later(tmp_path: Path):
    with AnswerCache(tmp_path) as cache:
        cache.write(b"a", "m", Answer(None, "empty"))
        assert cache.read([b"a"]) == {b"a": Answer(None, "empty")}
        cache.write(b"a", "m", Answer("likes tea"))
        assert cache.read([b"a"]) == {b"a": Answer("likes tea")}


def test_more_keys_than_one_query_takes(tmp_path: Path):
    keys = [number.to_bytes(4, "big") for number in range(1203)]
    with AnswerCache(tmp_path) as cache:
        for each in keys[::2]:
            cache.write(each, "m", Answer("x"))
        assert cache.read(keys).keys() == set(keys[::2])


def test_what_a_models_answers_typically_take(tmp_path: Path):
    with AnswerCache(tmp_path) as cache:
        assert cache.typical("m") is None
        for number, (tokens, seconds) in enumerate([(10, 1.0), (20, 9.0), (90, 2.0)]):
            cache.write(bytes([number]), "m", Answer("x", None, 7, tokens, seconds))
        cache.write(b"other", "n", Answer("x", None, 1, 1, 1.0))
        cache.write(b"failed", "m", Answer(None, "empty"))
        assert cache.typical("m") == Answer("", None, 7, 20, 2.0)
        cache.write(b"silent", "o", Answer("x"))
        assert cache.typical("o") == Answer("")


_WRITE_ON = """
import sys
from pathlib import Path
from recmind.text.chat.cache import Answer, AnswerCache
with AnswerCache(Path(sys.argv[1])) as cache:
    for number in range(10**9):
        cache.write(number.to_bytes(4, "big"), "m", Answer(f"text {number}"))
        print(number, flush=True)
"""


def test_killed_while_writing_it_has_every_answer_that_was_acknowledged(tmp_path: Path):
    acknowledged = -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITE_ON, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(150)]
            os.kill(process.pid, signal.SIGKILL)
            lines += process.stdout.readlines()
        whole = [line for line in lines if line.endswith("\n")]
        acknowledged = max(acknowledged, int(whole[-1]))
        with AnswerCache(tmp_path) as cache:
            found = cache.read(number.to_bytes(4, "big") for number in range(acknowledged + 1))
        assert sorted(answer.text for answer in found.values() if answer.text) == sorted(
            f"text {number}" for number in range(acknowledged + 1)
        )


def test_two_processes_fill_one_file(tmp_path: Path):
    code = _WRITE_ON.replace("range(10**9)", "range(int(sys.argv[2]), 600, 2)")
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), start], stdout=subprocess.DEVNULL)
        for start in ("0", "1")
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    with AnswerCache(tmp_path) as cache:
        assert len(cache.read(number.to_bytes(4, "big") for number in range(600))) == 600


def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"this is no database, but long enough to be looked at" * 50)
    with pytest.raises(
        DataError, match=r"answers\.sqlite: the answers of chat models cannot be kept(.|\n)*move a damaged"
    ):
        AnswerCache(tmp_path)
    assert (tmp_path / FILE).read_bytes().startswith(b"this is no database")


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"language\.cache_dir"):
        AnswerCache(tmp_path / "file" / "profiles")


def test_nothing_but_the_answer_is_kept(tmp_path: Path):
    with AnswerCache(tmp_path) as cache:
        cache.write(key(base_url="http://secret-host/v1"), "m", Answer("likes tea"))
    with sqlite3.connect(tmp_path / FILE) as db:
        row = db.execute("SELECT * FROM answers").fetchone()
    assert row[1:4] == ("m", "likes tea", None)
    assert len(row[0]) == 32
