"""`recmind profiles` and `recmind train` with a chat model, as a person runs them: processes and a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from recmind.cli import DEBUG
from recmind.config import LanguageConfig, SplitConfig
from recmind.data.dataset import Dataset
from recmind.data.splitting import split_dataset
from recmind.language.encoder import TextEncoder
from recmind.text.chat.cache import FILE

KEY = "sk-very-secret-0123456789"
QUICK = (
    "threads=1",
    "model.dim=8",
    "model.sequence.optional=false",
    "training.temperature=0.2",
    "training.max_epochs=2",
    "training.eval_every=1",
    "evaluation.bootstrap=10",
)


@dataclass
class Commands:
    """Commands with the server's settings and a cache of their own."""

    url: str
    folder: Path
    call: Callable[..., tuple[str, str]]

    def words(self, arguments: tuple[str | Path, ...], chat: tuple[str, ...]) -> list[str | Path]:
        settings = (
            "text.user_view=reviews",
            "text.profiles.writer=chat",
            "text.profiles.model=tiny",
            f"text.profiles.base_url={self.url}",
            "text.profiles.api_key_env=CHAT_KEY",
            "text.profiles.backoff=0.001",
            "text.profiles.retries=30",
            *chat,
        )
        return [*arguments, *[part for setting in settings for part in ("--set", setting)]]

    def environment(self, cache: str) -> dict[str, str]:
        return {"CHAT_KEY": KEY, "RECMIND_CACHE": str(self.folder / cache), DEBUG: "1"}  # tracebacks hold no key either

    def done(
        self, *arguments: str | Path, cache: str = "cache", chat: tuple[str, ...] = (), code: int = 0
    ) -> tuple[str, str]:
        """What a command wrote on stdout and stderr."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(cache).items():
                patch.setenv(name, value)
            out, err = self.call(*self.words(arguments, chat), code=code)
        assert KEY not in out + err
        return out, err

    def started(self, *arguments: str | Path, chat: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """A command in a process of its own, for signals."""
        return subprocess.Popen(
            [sys.executable, "-m", "recmind", *map(str, self.words(arguments, chat))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment("cache")},
            # A job in the background ignores Ctrl-C, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture
def recmind(server, call, tmp_path) -> Commands:
    return Commands(server.url, tmp_path, call)


def train_flags(out: Path) -> list[str | Path]:
    return ["--out", out, *[part for setting in QUICK for part in ("--set", setting)]]


def kept(folder: Path) -> int:
    import sqlite3

    with sqlite3.connect(f"file:{folder / 'profiles' / FILE}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM answers").fetchone()[0]


def files_with(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_dry_run_tells_what_it_would_do_and_sends_nothing(server, recmind, dataset_folder):
    prices = ("text.profiles.price_per_million_input=1000", "text.profiles.price_per_million_output=1000")
    out, _ = recmind.done("profiles", dataset_folder, "--dry-run", chat=prices)
    lines = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert lines["users"].strip() == "30, 30 different prompts"
    assert lines["to ask"].strip() == "30"
    assert lines["tokens of answers"].strip() == f"{30 * 256:,}, at most"
    tokens = int(lines["tokens of prompts"].split(",  ")[0].split(", counted")[0].replace(",", ""))
    assert 30 * 100 < tokens < 30 * 500
    assert lines["cost"].strip() == f"{(tokens + 30 * 256) / 1000:,.2f} at most"
    assert "[user]\nWhat this person chose, newest first:\n\n- " in out
    assert "wrote: train review 0 2" in out
    assert "MARK" not in out
    assert out.endswith("Nothing was sent.\n")
    assert server.requests == []


@pytest.mark.slow
def test_from_an_endpoint_that_fails_half_of_the_time_to_a_trained_run(
    server, recmind, dataset_folder, tmp_path, half_failing, expected_answer
):
    server.behave = half_failing
    table = tmp_path / "profiles.parquet"
    patient = ("text.profiles.timeout=0.5",)
    out, err = recmind.done("profiles", dataset_folder, "--out", table, chat=patient)
    assert "30 users have a profile by the chat model, 0 the template's." in out
    assert "recmind train" in out
    assert "Writing profiles" in err
    assert len(server.requests) > 40
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert not any("MARK" in prompt for prompt in server.prompts)
    written = pl.read_parquet(table)
    assert written.columns == ["user_id", "writer", "text", "answer", "failure"]
    answers = {request["messages"][-1]["content"]: expected_answer(request) for request in server.requests}
    assert sorted(written["text"].to_list()) == sorted(answers.values())

    server.clear()
    run = tmp_path / "run"
    recmind.done("train", dataset_folder, *train_flags(run), chat=patient)
    assert server.requests == []
    noted = json.loads((run / "environment.json").read_text())["encoder"]
    assert noted["profiles"]["model"] == "tiny"
    # What the encoder read about a user is what the chat model wrote.
    users = load_file(run / "model.safetensors")["texts.users"]
    vectors = TextEncoder.load(LanguageConfig(device="cpu")).encode(written["text"].to_list(), show_progress=False)
    np.testing.assert_allclose(users, vectors, atol=0.02)

    # The same answers without any failure, asked for by the training itself, give the same bits.
    server.behave = lambda exchange, request, nth: exchange.answer()
    other = tmp_path / "other"
    recmind.done("train", dataset_folder, *train_flags(other), cache="cache2")
    assert len(server.requests) == 30
    assert (other / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    assert files_with(tmp_path, KEY) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["profiles", "train"])
def test_killed_in_the_middle_it_asks_only_for_what_is_missing(server, recmind, dataset_folder, tmp_path, command):
    arguments = [command, dataset_folder, *(train_flags(tmp_path / "run") if command == "train" else [])]

    def twelve_answers(exchange, request, nth):
        if exchange.number >= 12:
            exchange.stall()
        else:
            exchange.answer()

    server.behave = twelve_answers
    with recmind.started(*arguments, chat=("text.profiles.concurrency=3",)) as process:
        deadline = time.monotonic() + 200
        while len(server.requests) < 15 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # The three that stalled were asked when all answers before them had been kept.
    n_kept = kept(tmp_path / "cache")
    assert n_kept == 12
    answered = set(server.prompts[:12])
    server.clear()
    server.behave = lambda exchange, request, nth: exchange.answer()
    recmind.done(*arguments, *(["--resume"] if command == "train" else []))
    assert Counter(server.prompts).most_common(1)[0][1] == 1
    assert len(server.prompts) == 30 - n_kept
    assert not answered & set(server.prompts)
    assert kept(tmp_path / "cache") == 30


@pytest.mark.slow
def test_interrupted_it_says_so_and_keeps_what_came(server, recmind, dataset_folder, tmp_path):
    server.behave = lambda exchange, request, nth: exchange.stall() if exchange.number >= 9 else exchange.answer()
    with recmind.started("profiles", dataset_folder, "--quiet", chat=("text.profiles.concurrency=3",)) as process:
        while len(server.requests) < 9 + 3 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "error: interrupted" in err
    assert kept(tmp_path / "cache") == 9


@pytest.mark.slow
class TestRefused:
    def test_a_wrong_key(self, server, recmind, dataset_folder, tmp_path):
        server.behave = lambda exchange, request, nth: exchange.send(f"Incorrect API key provided: {KEY}", 401)
        _, err = recmind.done("train", dataset_folder, *train_flags(tmp_path / "run"), code=3)
        assert "error: " + server.url in err
        assert "the endpoint refuses access (HTTP 401)" in err
        assert "CHAT_KEY" in err
        assert len(server.requests) == 1
        assert files_with(tmp_path, KEY) == []

    def test_too_many_failures(self, server, recmind, dataset_folder):
        server.behave = lambda exchange, request, nth: exchange.answer("nonsense")
        _, err = recmind.done("profiles", dataset_folder, "--quiet", code=3)
        assert "too many users have no usable answer" in err
        assert "answer not JSON" in err

    def test_a_key_pasted_in_the_place_of_its_name(self, server, recmind, dataset_folder):
        _, err = recmind.done("profiles", dataset_folder, chat=(f"text.profiles.api_key_env={KEY}",), code=2)
        assert "text.profiles.api_key_env: got a value that is not shown" in err

    def test_a_key_pasted_where_there_is_no_setting(self, server, recmind, dataset_folder):
        _, err = recmind.done("profiles", dataset_folder, chat=(f"text.profiles.api_key={KEY}",), code=2)
        assert "text.profiles.api_key: unknown setting; did you mean 'text.profiles.api_key_env'?" in err

    def test_a_view_without_texts(self, server, recmind, dataset_folder):
        _, err = recmind.done("profiles", dataset_folder, "--dry-run", chat=("text.user_view=items",), code=2)
        assert 'text.profiles.writer = "chat" needs "reviews" or "titles"' in err


def test_the_split_says_what_may_be_in_a_prompt(server, recmind, dataset_folder):
    """With `valid-only` the row that leave-one-out would hold out for validation is trained on."""
    out, _ = recmind.done("profiles", dataset_folder, "--dry-run", "--split", "valid-only")
    dataset = Dataset.load(dataset_folder)
    train = split_dataset(dataset, SplitConfig(kind="valid-only")).train
    assert (train.users == 0).sum() == 4
    assert "VALIDMARK review 0 3" in out
    assert "TESTMARK" not in out
