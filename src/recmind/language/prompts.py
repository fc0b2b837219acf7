"""Instructions that a model declares by name, put into the settings of the texts."""

from __future__ import annotations

from recmind.config import LanguageConfig, TextConfig
from recmind.errors import ConfigError, EncoderError
from recmind.language.source import ModelSource

PROMPTS = "config_sentence_transformers.json"


def with_prompts(source: ModelSource, text: TextConfig, language: LanguageConfig) -> TextConfig:
    """``text`` with the instructions that its texts really begin with.

    A prompt of the model is written in front of a text as it stands, without a
    blank between: models declare it with one where they want one, as in
    ``"Instruct: ...\\nQuery: "``.

    Raises
    ------
    ConfigError
        If both an instruction and the name of a prompt are given.
    EncoderError
        If the model does not declare the prompt.
    """
    declared = source.settings(PROMPTS)
    prompts = declared.get("prompts") or {}
    default = prompts.get(declared.get("default_prompt_name"), "")
    found = {}
    for side in ("item", "user"):
        name, own = getattr(language, f"{side}_prompt"), getattr(text, f"{side}_instruction")
        if name == "auto":
            found[f"{side}_instruction"] = own or default
        elif name == "none":
            found[f"{side}_instruction"] = own
        elif own:
            raise ConfigError(
                "two instructions for the same texts",
                where=f"language.{side}_prompt",
                got=f"the prompt {name!r}, and text.{side}_instruction = {own!r}",
                hint="give one of them",
            )
        elif not isinstance(prompts.get(name), str):
            raise EncoderError(
                "the model declares no such prompt",
                where=f"language.{side}_prompt",
                got=name,
                accepted=["auto", "none", *prompts],
                hint=f"the model is {source.name}; with text.{side}_instruction any instruction can be given",
            )
        else:
            found[f"{side}_instruction"] = prompts[name]
    return text if found == {key: getattr(text, key) for key in found} else text.model_copy(update=found)
