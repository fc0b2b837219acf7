"""A process that serves: socket, signals, reload, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from recmind.errors import ConfigError, RecMindError
from recmind.serving.http import logs
from recmind.serving.http.app import make_app
from recmind.serving.http.guard import Access, Guard
from recmind.serving.http.keys import read_keys
from recmind.serving.http.operations import reloaded
from recmind.serving.http.problems import Problem
from recmind.serving.http.protocol import bounded
from recmind.serving.http.service import Service
from recmind.serving.http.settings import ServeSettings
from recmind.serving.live import LiveRecommender


class Server(uvicorn.Server):
    """uvicorn's server with our own signals.

    TERM and INT stop gracefully: ``/readyz`` says no, requests under way end, a
    second one stops at once. HUP reads the bundle and the keys again.
    """

    def __init__(self, config: uvicorn.Config, guard: Guard, service: Service, settings: ServeSettings) -> None:
        super().__init__(config)
        self._guard, self._service, self._settings = guard, service, settings
        self._tasks: set[asyncio.Task[None]] = set()
        self.ready: Callable[[], None] = lambda: None
        self.loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our own handlers, which need the loop, in place of uvicorn's; none outside of the main thread."""
        self.loop = loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self.renew}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that the server listens."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    def stop(self) -> None:
        """Stop taking requests, then stop; the second time at once."""
        if self._service.state == "stopping":
            self.should_exit = self.force_exit = True
            return
        self._service.state = "stopping"
        logs.event("stopping")
        asyncio.get_running_loop().call_later(self._settings.drain_seconds, self._leave)

    def renew(self) -> None:
        """Read the keys and the bundle again."""
        task = asyncio.get_running_loop().create_task(self._renew())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self) -> None:
        try:
            if self._settings.keys is not None:
                self._guard.access.keys = read_keys(self._settings.keys)
        except RecMindError as error:
            logs.event("keys refused", level=40, reason=str(error))
        with contextlib.suppress(Problem):  # logged already
            await reloaded(self._service, self._guard.metrics)

    def _leave(self) -> None:
        self.should_exit = True


def serve(
    live: LiveRecommender,
    bundle: Callable[[], Path],
    settings: ServeSettings,
    *,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until a signal says to stop. The recommender is closed at the end.

    Parameters
    ----------
    live:
        The recommender.
    bundle:
        Gives the folder to read at a reload.
    settings:
        Everything else.
    ready:
        Called with the address when the server listens.

    Raises
    ------
    ConfigError
        If the address cannot be listened on, or the keys cannot be read.
    """
    # A search that ends should not wait five milliseconds for the loop to let go of the interpreter.
    sys.setswitchinterval(0.0005)
    server, listener = make_server(live, bundle, settings)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.ready = lambda: ready(f"http://{name}:{listener.getsockname()[1]}{settings.root_path}/")
    server.run(sockets=[listener])
    logs.event("stopped")


def make_server(
    live: LiveRecommender, bundle: Callable[[], Path], settings: ServeSettings
) -> tuple[Server, socket.socket]:
    """A server and the socket to run it on; see :func:`serve`."""
    access = Access(read_keys(settings.keys) if settings.keys is not None else None)
    listener = _listen(settings.host, settings.port)
    service = Service(live, bundle, threads=settings.threads, waiting=settings.waiting, warms=settings.warm)
    guard = make_app(service, settings, access)
    config = uvicorn.Config(
        guard,
        http=bounded(settings.header_seconds, settings.answer_seconds, settings.connections),
        loop="uvloop" if _has_uvloop() else "asyncio",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxy),
        forwarded_allow_ips=settings.proxy or None,
        root_path=settings.root_path,
        timeout_keep_alive=int(settings.idle_seconds),
        timeout_graceful_shutdown=int(settings.stop_seconds),
    )
    return Server(config, guard, service, settings), listener


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, or the reason why there is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(
            f"cannot listen: {error.strerror or error}",
            where="--host, --port",
            got=f"{host}:{port}",
            hint="choose another --port, or 0 for a free one",
        ) from error
    return listener


def _has_uvloop() -> bool:
    try:
        import uvloop  # noqa: F401
    except ImportError:
        return False
    return True
