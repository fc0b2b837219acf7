"""Command about texts that changed after training: refresh."""

from __future__ import annotations

import json
from pathlib import Path

from recmind.cli.options import Flag, JsonFlag


def refresh(
    run: Path,
    /,
    *,
    items: Path | None = None,
    users: Path | None = None,
    out: Path | None = None,
    table: Path | None = None,
    as_json: JsonFlag = False,
    quiet: Flag = False,
) -> None:
    """Read changed texts again, let new items in, and say how far the rows moved; nothing is trained.

    Only rows whose own language view changes are moved: items with another text, users whose text
    or whose items changed, and those whose missing text is guessed from such items. All files of the run
    change at once: a kill at any moment leaves the old run or the new one.

        recmind refresh runs/shop --items changed.parquet
        recmind refresh runs/shop --items changed.parquet --out runs/shop-monday
        recmind refresh runs/shop --items changed.csv --users profiles.csv --table moved.csv

    Parameters
    ----------
    run:
        Run folder, as `recmind train` makes it.
    items:
        Table of changed and new items: `item_id` and the text columns that changed; the others stay as they are.
    users:
        Table of changed users, where users have texts: `user_id` and `profile`; with `text.user_view = "reviews"`
        all `reviews` of a user as a list, oldest first.
    out:
        Folder of a new run. Without it the run itself is changed.
    table:
        File for the table of what moved: `.parquet`, `.csv` or `.jsonl`. It is also in the run, as `moved.parquet`.
    as_json:
        Print JSON, and nothing else, on stdout.
    quiet:
        No progress bars.
    """
    from recmind.cli.show_refresh import print_refreshed
    from recmind.serving.refresh import refresh as refresh_run
    from recmind.serving.tables import check_format, write_table

    if table is not None:
        check_format(table, "--table")
    result = refresh_run(run, items, users, out=out, show_progress=not quiet)
    if table is not None:
        write_table(result.moved, table)
    if as_json:
        print(json.dumps({**result.summary, "run": str(result.run), "rows": result.moved.to_dicts()}, indent=2))
    else:
        print_refreshed(result)
