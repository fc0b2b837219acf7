"""Commands about serving over HTTP: serve, key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recmind.cli.options import Flag


def serve(
    bundle: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    changes: Path | None = None,
    forget_changes: Flag = False,
    allow_host: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    proxy: str = "",
    root_path: str = "",
    rate: float = 1000.0,
    burst: int = 2000,
    max_body: int = 262_144,
    threads: int = 2,
    drain: float = 0.0,
    no_warm: Flag = False,
) -> None:
    """Serve a run or a bundle over HTTP: an API and a page to look, try and understand.

    A run is made into a bundle first, `RUN.bundle` beside it, and again when the run has changed. What changes
    while the server runs (new items, interactions, deletions) is kept in `BUNDLE.changes.sqlite`.
    The bundle and the keys are read again at SIGHUP; SIGTERM stops without losing a request.

        recmind serve runs/shop
        recmind serve bundles/shop --port 8080
        recmind key website --keys keys.json
        recmind serve bundles/shop --host 0.0.0.0 --keys keys.json --allow-host shop.example

    Parameters
    ----------
    bundle:
        Run folder, as `recmind train` makes it, or bundle, as `recmind export` makes it.
    host:
        Address to listen on. Any but the loopback interface needs `--keys`.
    port:
        Port to listen on; 0 takes a free one.
    keys:
        File of API keys, as `recmind key` makes it. Without it no key is asked for.
    changes:
        SQLite file of what changes. Without it `BUNDLE.changes.sqlite` beside the bundle.
    forget_changes:
        Keep changes in memory alone, to try things.
    allow_host:
        Name by which the server may be called (header Host, without port); repeat it for more. Without it any
        where there are keys, and localhost where there are none.
    proxy:
        Address of a proxy whose headers X-Forwarded-For and X-Forwarded-Proto are believed.
    root_path:
        Path below which a proxy shows the server, such as `/recmind`.
    rate:
        Requests a second of one client; 0 for no limit. A client is a key, or an address without keys.
        A request with a text counts 20 times.
    burst:
        Requests that one client may send at once.
    max_body:
        Bytes of a request's body.
    threads:
        Threads for lists with filters and look-ups.
    drain:
        Seconds between the signal to stop and the end of taking requests, during which `/readyz` says no.
    no_warm:
        Load the language model with the first text rather than at start.
    """
    from recmind.serving.http import logs
    from recmind.serving.http.opening import open_to_serve
    from recmind.serving.http.server import serve as serve_http
    from recmind.serving.http.settings import ServeSettings

    settings = ServeSettings(
        host=host,
        port=port,
        keys=keys,
        hosts=allow_host,
        proxy=proxy,
        root_path=root_path,
        rate=rate,
        burst=burst,
        max_body=max_body,
        threads=threads,
        drain_seconds=drain,
        warm=not no_warm,
    )
    logs.set_up()
    live, folder = open_to_serve(bundle, changes, keep=not forget_changes)
    serve_http(live, folder, settings, ready=_say)


def _say(address: str) -> None:
    print(f"RecMind serves at {address} (stop with Ctrl-C)", flush=True)


def key(
    name: str,
    /,
    *,
    keys: Path,
    role: Literal["read", "write", "admin"] = "read",
    revoke: Flag = False,
) -> None:
    """Make an API key for `recmind serve`, or revoke one.

    The key is printed once and kept nowhere; the file holds its hash. A server that runs reads the file
    again at SIGHUP.

        recmind key website --keys keys.json
        recmind key nightly-import --role write --keys keys.json
        recmind key website --revoke --keys keys.json

    Parameters
    ----------
    name:
        Whose key it is; stands in the server's log.
    keys:
        File of keys; made if missing.
    role:
        `read`: queries and the page. `write`: also changes. `admin`: also reload.
    revoke:
        Take the key out of the file.
    """
    from recmind.serving.http.keys import make_key, revoke_key

    if revoke:
        revoke_key(keys, name)
        print(f"{name}: revoked in {keys}", file=sys.stderr)
        return
    print(make_key(keys, name, role))
