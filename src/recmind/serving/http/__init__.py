"""HTTP over a :class:`~recmind.serving.live.LiveRecommender`: an API and a page, in one process.

============================  ===================================================================
:mod:`~.http.settings`        what ``recmind serve`` is told, with its defaults
:mod:`~.http.server`          a socket, a process: start, signals, reload, graceful stop
:mod:`~.http.app`             the application: routes, handlers, life
:mod:`~.http.guard`           what every request passes: host, origin, key, rate, size, time, log
:mod:`~.http.protocol`        what a connection may do before there is a request
:mod:`~.http.service`         the recommender of the moment, and the threads that work for it
:mod:`~.http.searches`        plain lists, several in one search
:mod:`~.http.models`          requests and answers of the API, every field bounded
:mod:`~.http.quick`           routes whose body goes straight to its model
:mod:`~.http.api`             queries; :mod:`~.http.changes` writes, :mod:`~.http.operations` the rest
:mod:`~.http.pages`           the page: server-side templates and htmx; :mod:`~.http.charts` its plots
:mod:`~.http.problems`        errors as RFC 9457 problems
:mod:`~.http.keys`            API keys; :mod:`~.http.sessions` the page's cookie
:mod:`~.http.limits`          rates
:mod:`~.http.metrics`         Prometheus; :mod:`~.http.logs` JSON lines
============================  ===================================================================

The event loop reads, checks and writes; whatever searches, reads texts or waits
for the disk goes to threads with a bounded queue.
"""
