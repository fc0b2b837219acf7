"""One reader per raw format. A new one is one file and one line in :data:`SOURCES`."""

from __future__ import annotations

from recmind.data.sources import amazon2014, amazon2018, amazon2023, movielens, recbole, table, yelp
from recmind.data.sources.base import Source
from recmind.errors import DataError

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        amazon2014.SOURCE,
        amazon2018.SOURCE,
        amazon2023.SOURCE,
        yelp.SOURCE,
        movielens.SOURCE,
        recbole.SOURCE,
        table.SOURCE,
    )
}
"""Every source by its name on the command line."""


def get_source(name: str) -> Source:
    """The source called ``name``.

    Raises
    ------
    DataError
        If there is none.
    """
    if name not in SOURCES:
        raise DataError("there is no such source", where="SOURCE", got=name, accepted=list(SOURCES))
    return SOURCES[name]
