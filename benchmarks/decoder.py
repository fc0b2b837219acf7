"""Encode texts with a decoder language model of a known size, built from its configuration with random weights.

    python benchmarks/decoder.py --texts 16 --words 90
    python benchmarks/decoder.py --size tiny --texts 200          # to try the script
    python benchmarks/decoder.py --texts 2000 --device cuda --batch-tokens 65536

Nothing is downloaded: what a forward pass costs does not depend on the values
of the weights. The encoder is the library's own, with last-token pooling. The
share of the machine's peak compares the arithmetic of the texts (two per weight
of the layers and token, and the attention's) with that of a square product of
matrices in the same number format, measured before and after in the same run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.turns import processor

from recmind.config import LanguageConfig
from recmind.language.encoder import TextEncoder

SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 2048,
    },
    # Qwen2-0.5B
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
}


def word_list(n: int, seed: int = 0) -> list[str]:
    """Words of 3 to 10 letters."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    return ["".join(rng.choice(letters, size)) for size in rng.integers(3, 11, n)]


def texts_of(words: list[str], n: int, mean: int, seed: int = 1) -> list[str]:
    """``n`` texts of about ``mean`` words, from half to one and a half times as many."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(mean // 2, 1), mean * 3 // 2 + 1, n)
    return [" ".join(rng.choice(words, length)) for length in lengths]


def build(folder: Path, size: str, dtype: torch.dtype) -> None:
    """A Qwen2 decoder with random weights, and a byte-level tokenizer that appends an end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import AutoModel, PreTrainedTokenizerFast, Qwen2Config

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    tokenizer.train_from_iterator([" ".join(word_list(2000))], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", 0)])
    names = {"eos_token": "<|end|>", "pad_token": "<|end|>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    # transformers takes the number format of new weights from torch's default.
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = AutoModel.from_config(Qwen2Config(**SIZES[size], max_position_embeddings=4096, pad_token_id=0))
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)


def operations(lengths: np.ndarray, size: str, n_weights: int) -> float:
    """Multiplications and additions of the layers for texts of ``lengths`` tokens; embeddings are only looked up.

    Per token 2 for each weight of the layers; per pair of tokens and layer 4
    hidden for scores and their product with the values, half of them masked.
    """
    settings = SIZES[size]
    weights = n_weights - settings["vocab_size"] * settings["hidden_size"]
    pairs = settings["num_hidden_layers"] * settings["hidden_size"] * float((lengths.astype(np.float64) ** 2).sum())
    return 2 * weights * float(lengths.sum()) + 2 * pairs


def peak(device: torch.device, dtype: torch.dtype, n: int, rounds: int) -> float:
    """Operations per second of a product of two ``(n, n)`` matrices: the best of some rounds."""
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(rounds + 1):  # the first warms up
        _wait(device)
        start = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Figures of one encoder."""
    config = LanguageConfig(
        encoder=str(folder), device=args.device, dtype=args.dtype, batch_tokens=args.batch_tokens, pooling="last"
    )
    encoder = TextEncoder.load(config)
    texts = texts_of(word_list(2000), args.texts, args.words)
    lengths = np.array([len(ids) for ids in encoder.token_ids(texts)])
    n_weights = sum(parameter.numel() for parameter in encoder.model.parameters())
    encoder.encode(texts[:1], show_progress=False)
    before = peak(encoder.device, encoder.dtype, args.matrix, args.rounds)
    if encoder.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        vectors = encoder.encode(texts, show_progress=False)
        seconds.append(time.perf_counter() - start)
    after = peak(encoder.device, encoder.dtype, args.matrix, args.rounds)
    if vectors.shape != (args.texts, encoder.dim) or not np.isfinite(vectors).all():
        raise SystemExit("the vectors are not what they should be")
    middle, most = statistics.median(seconds), max(before, after)
    return {
        "device": torch.cuda.get_device_name() if encoder.device.type == "cuda" else processor(),
        "dtype": str(encoder.dtype).removeprefix("torch."),
        "weights": n_weights,
        "tokens": int(lengths.sum()),
        "seconds": seconds,
        "texts_per_second": args.texts / middle,
        "tokens_per_second": float(lengths.sum()) / middle,
        "operations_per_second": operations(lengths, args.size, n_weights) / middle,
        "peak_operations_per_second": most,
        "packed": encoder.packs,
        "memory_gb": _memory(encoder.device),
    }


def _memory(device: torch.device) -> float:
    """Peak memory in GB: of the GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="0.5b")
    parser.add_argument("--texts", type=int, default=16)
    parser.add_argument("--words", type=int, default=40, help="mean words of a text; a word is about three tokens")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=0, help="0: what torch takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=2048, help="side of the matrices that measure the peak")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        stored = torch.float32 if args.dtype == "float32" else torch.bfloat16
        build(Path(folder), args.size, stored)
        found = measure(args, Path(folder))
    low, high = (args.texts / value for value in (max(found["seconds"]), min(found["seconds"])))
    way = "packed" if found["packed"] else "padded"
    print(f"{found['device']}, {torch.get_num_threads()} threads; {found['dtype']}, {way}")
    print(f"Qwen2 {args.size}: {found['weights'] / 1e6:,.0f} million weights, random")
    print(f"{args.texts} texts of {found['tokens'] / args.texts:.0f} tokens on average")
    speed = f"{found['texts_per_second']:.2f} texts/s ({low:.2f} to {high:.2f})"
    print(f"  {speed}, {found['tokens_per_second']:,.0f} tokens/s")
    share = found["operations_per_second"] / found["peak_operations_per_second"]
    print(f"  {found['operations_per_second'] / 1e9:,.0f} GFLOP/s, {share:.0%} of a matrix product's")
    print(f"  (which does {found['peak_operations_per_second'] / 1e9:,.0f}); peak memory {found['memory_gb']:.1f} GB")


if __name__ == "__main__":
    main()
