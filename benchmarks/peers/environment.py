"""The environment of the peers: a virtual environment of its own, so that their pins never meet ours.

    python benchmarks/peers/environment.py               makes .bench/peers, some minutes and about 2 GB
    python benchmarks/peers/environment.py --env FOLDER  makes it elsewhere

Every benchmark that is asked for a peer calls this by itself. Versions are
pinned here and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / ".bench"
DEFAULT = BENCH / "peers"

TORCH = "torch==2.13.0"
PACKAGES = (
    "recbole==1.2.1",
    "torch_geometric==2.8.1",
    "implicit==0.7.3",
    "numpy==2.4.6",
    "scipy==1.17.1",
    "pandas==3.1.1",
    "ray==2.6.3",
    "scikit-learn==1.9.1",
    "threadpoolctl==3.8.0",
)
_STAMP = "recmind-peers.txt"


def ensure(folder: Path = DEFAULT, packages: tuple[str, ...] = PACKAGES) -> Path:
    """The Python of an environment with torch and ``packages``, made first where it is missing or of other pins."""
    python, stamp = folder / "bin" / "python", folder / _STAMP
    wanted = hashlib.sha256("\n".join((TORCH, *packages)).encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    if folder.exists() and not (folder / "pyvenv.cfg").exists():
        raise SystemExit(f"{folder} is there and is no virtual environment; choose another with --env")
    keep_out_of_git(folder.parent)
    print(f"Making the peers' environment in {folder}: some minutes the first time", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch first and alone: resolved together with the rest, pip may choose a far larger build.
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, TORCH, *packages], check=True)
    stamp.write_text(wanted)
    return python


def keep_out_of_git(folder: Path) -> None:
    """Make ``folder``, and where it is the benchmarks' own one, keep what is in it out of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() == BENCH.resolve():
        (folder / ".gitignore").write_text("*\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, default=DEFAULT, help="folder of the virtual environment")
    print(ensure(parser.parse_args().env.absolute()))


if __name__ == "__main__":
    main()
