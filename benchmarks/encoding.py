"""Time the encoding of texts by RecMind and by sentence-transformers in one run, taking turns.

    python benchmarks/encoding.py                               RecMind alone: nothing to install
    python benchmarks/encoding.py --peer                        both; makes .bench/encoding the first time
    python benchmarks/encoding.py --peer --peer-python PYTHON   with an environment that is there
    python benchmarks/encoding.py --peer --parquet items.parquet --column title --limit 3000

Both read the same model folder and the same texts on the same number of
threads, each in a process of its own: RecMind with its defaults, so in the
number format that suits the processor, sentence-transformers with its defaults,
so in float32 and batches of 32. Vectors have length 1. A reading is one call of
`encode` for all texts, tokenising included and loading the model not.

Ratios are of readings of the same round, median and range over the rounds; the
cosine is the smallest over all texts between the two vectors of a text. Without
--parquet the texts are made of ordinary words drawn with a fixed seed, with
log-normal lengths around the numbers of tokens in --lengths.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import BENCH, ensure
from peers.process import Contender
from peers.turns import document, print_machine, table, take_turns

from recmind.config import LanguageConfig
from recmind.language.encoder import TextEncoder
from recmind.language.resolve import load_tokenizer

OURS, THEIRS = "RecMind", "sentence-transformers"
PACKAGES = ("sentence-transformers==6.2.0", "transformers==5.23.0", "tokenizers==0.23.3", "numpy==2.4.6")

WORDS = """
the and of with for a in to hair skin care oil cream organic natural set pack black white red blue green soft dry day
night color brush wash body face hand spray gel sun light strong free travel size new edition collection film series
story family love war young life home world man woman children music dance comedy drama action history classic season
disc original director cast performance award camera lens digital wireless cable charger battery case screen speaker
sound bass noise power adapter portable memory card drive laptop keyboard mouse printer ink paper desk lamp kitchen
steel glass wood cotton leather plastic handle blade knife coffee tea cup bottle water filter clean fresh fragrance
perfume lavender vanilla coconut argan shampoo conditioner moisturizer sunscreen serum vitamin collagen eyeliner
mascara lipstick palette waterproof hypoallergenic rechargeable adjustable stainless professional comprehensive
documentary unforgettable bestselling remastered widescreen subtitles 2 3 4 8 10 12 16 24 100 250 oz ml inch
""".split()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="measure sentence-transformers too")
    parser.add_argument("--peer-python", type=Path, help="interpreter that has sentence-transformers; none is made")
    parser.add_argument("--env", type=Path, default=BENCH / "encoding", help="environment made for the peer")
    parser.add_argument("--encoder", default="builtin", help="builtin, or the folder of a model")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"], help="RecMind's format")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 92, 190], help="tokens of a made text")
    parser.add_argument("--tokens", type=int, default=40_000, help="tokens of all made texts of one length")
    parser.add_argument("--parquet", type=Path, help="take the texts from this file instead")
    parser.add_argument("--column", default="title", help="text column of --parquet")
    parser.add_argument("--limit", type=int, default=2000, help="texts of --parquet, spread over the file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    encoder = TextEncoder.load(LanguageConfig(encoder=args.encoder, device="cpu", dtype=args.dtype))
    corpora = read_texts(args) if args.parquet else {f"{n} tokens": make_texts(n, args.tokens) for n in args.lengths}
    with tempfile.TemporaryDirectory() as folder:
        contenders = start(args, encoder.source.folder, corpora, Path(folder))
        print_machine(contenders)
        print(f"\n{'texts':<20}{'':>7}{'tokens':>8}  {'':<22}{'texts/s':>9}{'per cpu s':>11}{'ratio':>8}  spread")
        rows = {
            name: measure(contenders, name, texts, mean_tokens(encoder, texts), args.rounds)
            for name, texts in corpora.items()
        }
        if len(contenders) > 1:
            print_cosines(contenders, Path(folder))
        for contender in contenders:
            contender.close()
    if args.json:
        settings = vars(args) | {"n_texts": {name: len(texts) for name, texts in corpora.items()}}
        results = [{"texts": name, **document(found, contenders, settings)} for name, found in rows.items()]
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def start(args: argparse.Namespace, model: Path, corpora: dict[str, list[str]], folder: Path) -> list[Contender]:
    """The contenders, each with the texts and a place for its vectors."""
    texts = folder / "texts.json"
    texts.write_text(json.dumps(corpora), "utf-8")
    settings = {"model": str(model), "dtype": args.dtype, "texts": str(texts), "threads": args.threads}
    sides = {OURS: (Path(sys.executable), "peers.encoder_worker")}
    if args.peer or args.peer_python:
        sides[THEIRS] = (
            args.peer_python or ensure(args.env.absolute(), PACKAGES),
            "peers.sentence_transformers_worker",
        )
    env = {"RAYON_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}
    return [
        Contender(label, python, module, {**settings, "vectors": str(folder / f"{label}.npz")}, env)
        for label, (python, module) in sides.items()
    ]


def measure(contenders: list[Contender], name: str, texts: list[str], tokens: float, rounds: int) -> list[Any]:
    """Readings of one corpus, printed; the ratio is how many times as long the contender takes as RecMind."""
    rows = table(take_turns(contenders, name, rounds=rounds, seconds=0), OURS)
    for row in rows:
        speed, per_cpu = len(texts) / row.wall, len(texts) / row.cpu
        start = f"{name[:20]:<20}{len(texts):>7}{tokens:>8.1f}" if row.label == OURS else " " * 35
        print(
            f"{start}  {row.label:<22}{speed:>9,.0f}{per_cpu:>11,.0f}{row.ratio:>8.2f}  {row.low:.2f} to {row.high:.2f}"
        )
    return rows


def mean_tokens(encoder: TextEncoder, texts: list[str]) -> float:
    """Tokens per text as the model reads them, its own marks included."""
    read = load_tokenizer(encoder.source)[1](texts, truncation=True, max_length=encoder.window)["input_ids"]
    return float(np.mean([len(ids) for ids in read]))


def print_cosines(contenders: list[Contender], folder: Path) -> None:
    """The smallest cosine between the two vectors of a text."""
    for contender in contenders:
        contender.do("save")
    ours, theirs = (np.load(folder / f"{contender.label}.npz") for contender in contenders[:2])
    print()
    for name in ours.files:
        cosines = (ours[name].astype(np.float64) * theirs[name]).sum(1)
        print(f"{name}: smallest cosine {cosines.min():.5f} over {len(cosines)} texts")


def read_texts(args: argparse.Namespace) -> dict[str, list[str]]:
    """Non-empty texts of one column, spread evenly over the file."""
    import polars as pl

    texts = pl.read_parquet(args.parquet, columns=[args.column])[args.column].drop_nulls().to_list()
    texts = [text for text in texts if text.strip()]
    chosen = np.linspace(0, len(texts) - 1, min(args.limit, len(texts))).astype(int)
    return {f"{args.parquet.parent.name[-12:]} {args.column}"[:24]: [texts[row] for row in chosen]}


def make_texts(length: int, tokens: int, seed: int = 0) -> list[str]:
    """Texts of about ``length`` tokens each and ``tokens`` in all."""
    rng = np.random.default_rng([seed, length])
    chance = 1 / np.arange(1, len(WORDS) + 1) ** 0.7
    n = max(1, tokens // length)
    # Two of the tokens are the model's own marks; a word of this list is 1.1 tokens on average.
    means = rng.lognormal(-0.08, 0.4, n) * max(1, length - 2) / 1.1
    drawn = (rng.choice(WORDS, size=max(1, round(words)), p=chance / chance.sum()) for words in means)
    return [" ".join(words.tolist()).capitalize() for words in drawn]


if __name__ == "__main__":
    main()
