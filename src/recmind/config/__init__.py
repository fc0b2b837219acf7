"""Settings: frozen, typed, documented field by field, checked all at once.

The docstring under a field is its documentation: ``--help`` and
``docs/settings.md`` are made from it. A recipe is a TOML file with any of these
settings; what it leaves out keeps the default given here. Settings for one
model only stand in a table ``[overrides.<model>]`` of the recipe.

The settings stand in ``data``, ``language``, ``model`` and ``training``, and
``run`` puts them together; ``recipes`` reads TOML, ``checking`` explains what
is wrong. Import from here.
"""

from __future__ import annotations

from recmind.config.adapters import AdapterConfig
from recmind.config.base import Fraction, Positive, Settings
from recmind.config.baselines import BaselinesConfig, EaseConfig, IalsConfig, KnnConfig, XSimGCLConfig
from recmind.config.checking import validate_config
from recmind.config.data import PrepareConfig, SplitConfig
from recmind.config.described import describe_settings
from recmind.config.language import LanguageConfig, TextConfig
from recmind.config.model import AlignmentConfig, GateConfig, ModelConfig, ModelName, RecentConfig, TransitionsConfig
from recmind.config.profiles import ProfilesConfig
from recmind.config.recipes import load_config, put_setting, recipe_names, recipe_text
from recmind.config.run import Config, setting_at, setting_names, walk_settings
from recmind.config.text_baselines import (
    AlphaRecConfig,
    DropoutNetConfig,
    KarConfig,
    LLMInitConfig,
    RLMRecConConfig,
    RLMRecGenConfig,
)
from recmind.config.training import EvaluationConfig, TrainingConfig

__all__ = [
    "AdapterConfig",
    "AlignmentConfig",
    "AlphaRecConfig",
    "BaselinesConfig",
    "Config",
    "DropoutNetConfig",
    "EaseConfig",
    "EvaluationConfig",
    "Fraction",
    "GateConfig",
    "IalsConfig",
    "KarConfig",
    "KnnConfig",
    "LLMInitConfig",
    "LanguageConfig",
    "ModelConfig",
    "ModelName",
    "Positive",
    "PrepareConfig",
    "ProfilesConfig",
    "RLMRecConConfig",
    "RLMRecGenConfig",
    "RecentConfig",
    "Settings",
    "SplitConfig",
    "TextConfig",
    "TrainingConfig",
    "TransitionsConfig",
    "XSimGCLConfig",
    "describe_settings",
    "load_config",
    "put_setting",
    "recipe_names",
    "recipe_text",
    "setting_at",
    "setting_names",
    "validate_config",
    "walk_settings",
]
