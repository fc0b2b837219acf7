"""The command about users' texts: profiles."""

from __future__ import annotations

from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from recmind.cli.options import Flag, SplitKind

if TYPE_CHECKING:
    from recmind.profiles import Profiles
    from recmind.text.chat.estimate import Estimate


def profiles(
    dataset: Path,
    /,
    *,
    out: Path | None = None,
    dry_run: Flag = False,
    recipe: str = "default",
    split: SplitKind | None = None,
    settings: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    quiet: Flag = False,
) -> None:
    """Let a chat model write the users' texts, before training or only to see what it would cost.

    The model stands behind any OpenAI-compatible endpoint: a provider's, or vLLM, llama.cpp or Ollama on a
    machine of your own. It reads each user's training interactions (never a held-out one) and writes a profile,
    which the encoder then reads. Begin with what it would ask, and what that costs; nothing is sent:

        recmind profiles data/shop --dry-run --set text.user_view=reviews \\
            --set text.profiles.base_url=http://localhost:8000/v1 \\
            --set text.profiles.model=qwen3-8b

    Then without `--dry-run`, and train with the same settings; what was answered is not asked again. Put them
    into a recipe of your own (`recmind recipes default > mine.toml`) to say them once:

        [text]
        user_view = "reviews"
        [text.profiles]
        writer = "chat"
        base_url = "https://api.example.com/v1"
        model = "some-model"
        api_key_env = "EXAMPLE_API_KEY"
        requests_per_minute = 500

        recmind profiles data/shop --recipe mine.toml --out profiles.parquet
        recmind train data/shop --recipe mine.toml --out runs/shop

    The key is read from the environment variable that `api_key_env` names and written nowhere. Answers are kept
    one by one: after Ctrl-C, a crash or an endpoint that went away, the same command goes on. Users without a
    usable answer keep the template's text; if they are more than `text.profiles.max_failed` of all, it is an error.

    Parameters
    ----------
    dataset:
        Dataset folder, as `recmind prepare` makes it.
    out:
        Parquet table to write: user_id, writer, text (what the encoder reads), answer, failure. Without it, the
        answers are only kept where training finds them.
    dry_run:
        Send nothing. Print the number of users, tokens, estimated cost and time, and one prompt.
    recipe:
        As in `recmind train`.
    split:
        As in `recmind train`: what is held out there must be held out here.
    settings:
        As in `recmind train`, for instance `text.profiles.concurrency=16`. All keys: `recmind settings text`.
    quiet:
        No progress bar.
    """
    from recmind.config import load_config
    from recmind.profiles import plan_user_profiles, write_user_profiles

    overrides = [*settings, *([f"split.kind={split}"] if split else [])]
    given = load_config(recipe, overrides=overrides).text.profiles.writer
    config = load_config(recipe, overrides=[*overrides, "text.profiles.writer=chat"])
    if dry_run:
        _print_plan(plan_user_profiles(dataset, config), config.text.profiles.concurrency)
        return
    _print_done(write_user_profiles(dataset, config, out, show_progress=not quiet), out)
    needed = [*settings, *([] if given == "chat" else ["text.profiles.writer=chat"])]
    same = [*(["--recipe", recipe] if recipe != "default" else []), *(["--split", split] if split else [])]
    same += [part for setting in needed for part in ("--set", setting)]
    run = Path("runs") / dataset.resolve().name
    print(f"\nNext:\n  recmind train {quote(str(dataset))} {join(same)} --out {quote(str(run))}")


def _print_plan(plan: Estimate, concurrency: int) -> None:
    answers = "as earlier answers of this model" if plan.measured else "at most"
    basis = "as measured earlier" if plan.measured else "assumed"
    rows = {
        "users": f"{plan.users:,}, {plan.prompts:,} different prompts",
        "answered already": f"{plan.answered:,}",
        "to ask": f"{plan.to_ask:,}",
        "tokens of prompts": f"{plan.tokens_in:,}, counted by the encoder's tokenizer",
        "tokens of answers": f"{plan.tokens_out:,}, {answers}",
        "cost": "unknown: set text.profiles.price_per_million_input and price_per_million_output"
        if plan.cost is None
        else f"{plan.cost:,.2f}{'' if plan.measured else ' at most'}",
        "time": f"{_duration(plan.seconds)}, within the limits, at {plan.answer_seconds:.1f} s an answer ({basis}) "
        f"and {concurrency} at once",
    }
    for label, value in rows.items():
        print(f"{label:<18} {value}")
    if plan.example is not None:
        print("\nOne prompt:")
        for message in plan.example:
            print(f"\n[{message['role']}]\n{message['content'].rstrip()}")
    print("\nNothing was sent.")


def _print_done(done: Profiles, out: Path | None) -> None:
    written = done.texts.written
    assert written is not None
    n_failed = written.failures.total()
    print(f"{len(written.answers) - n_failed:,} users have a profile by the chat model, {n_failed:,} the template's.")
    cost = "" if done.cost is None else f", cost {done.cost:,.2f}"
    if written.asked:
        print(
            f"{written.asked:,} prompts asked in {written.requests:,} requests, {written.tokens_in:,} tokens in, "
            f"{written.tokens_out:,} out{cost}."
        )
    else:
        print("Every prompt was answered before; nothing was sent.")
    if out is not None:
        print(f"The texts are in {out}.")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours:,} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if not hours else ""]
    return " ".join(part for part in parts if part)
