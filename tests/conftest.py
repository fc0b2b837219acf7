"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# ranx, an oracle, would be compiled for a minute and then run for a second.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep embeddings made by tests out of the person's own cache."""
    os.environ["RECMIND_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def call() -> Callable[..., tuple[str, str]]:
    """Call a command in this process, which has imported torch already; gives what it wrote on stdout and stderr.

    A process of its own is for what only a process shows: signals, imports, exit codes of the interpreter.
    """
    from recmind.cli import DEBUG, main

    def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):  # of the trainings that it starts
                patch.setenv(name, "1")
            ended = main([str(argument) for argument in arguments])
        assert ended == code, err.getvalue()
        assert os.environ.get(DEBUG) or "Traceback" not in err.getvalue()
        return out.getvalue(), err.getvalue()

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real datasets: ``$RECMIND_DATA``, else ``../shared/data`` beside the clone."""
    folder = Path(os.environ.get("RECMIND_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is missing; set RECMIND_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny BERT that reads the words w0 to w59, one token each."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    words = {token: number for number, token in enumerate([*special, *(f"w{k}" for k in range(60))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, words[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = BertConfig(
            vocab_size=len(words), max_position_embeddings=40, initializer_range=0.3, pad_token_id=1, **sizes
        )
        BertModel(config).save_pretrained(folder)
    return folder
