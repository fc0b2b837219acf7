"""Tables and lists of ids in files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recmind.errors import DataError
from recmind.serving.tables import read_ids, read_table, write_table


class TestRead:
    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl", ".txt", ""])
    def test_every_kind(self, tmp_path: Path, suffix: str):
        path, ids = tmp_path / f"users{suffix}", ["003", "001"]
        frame = pl.DataFrame({"user_id": ids, "note": ["x", "y"]})
        if suffix in (".txt", ""):
            path.write_bytes("\ufeff003\r\n\r\n 001 \n".encode())
        else:
            {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}[suffix](path)
        assert read_ids(path) == ids

    def test_a_missing_file(self, tmp_path: Path):
        for name in ("no.txt", "no.csv"):
            with pytest.raises(DataError, match="there is no such file"):
                read_ids(tmp_path / name)

    def test_a_table_without_the_column(self, tmp_path: Path):
        (tmp_path / "users.csv").write_text("name\nanna\n")
        with pytest.raises(DataError, match=r"no column holds the user_id(.|\n)*name(.|\n)*accepted: user_id, user"):
            read_ids(tmp_path / "users.csv")

    @pytest.mark.parametrize(
        ("encoding", "separator"), [("utf-8", ";"), ("cp1252", ";"), ("utf-16", "\t"), ("utf-8", ",")]
    )
    def test_tables_as_spreadsheets_write_them(self, tmp_path: Path, capsys, encoding: str, separator: str):
        text = "Customer;title\n007;Käse\nZoë;\n".replace(";", separator)
        (tmp_path / "users.csv").write_bytes(text.encode(encoding))
        assert read_table(tmp_path / "users.csv").rows() == [("007", "Käse"), ("Zoë", None)]
        assert ("users.csv is not UTF-8" in capsys.readouterr().err) is (encoding == "cp1252")
        assert read_ids(tmp_path / "users.csv") == ["007", "Zoë"]

    def test_one_column_and_no_rows(self, tmp_path: Path):
        (tmp_path / "users.csv").write_text("user_id\n")
        assert read_ids(tmp_path / "users.csv") == []
        (tmp_path / "users.csv").write_text("")
        with pytest.raises(DataError, match=r"users\.csv: the file is empty"):
            read_table(tmp_path / "users.csv")

    def test_a_row_that_is_too_long(self, tmp_path: Path):
        (tmp_path / "items.csv").write_text("item_id,title\na,b\nc,d,e\n")
        with pytest.raises(DataError, match=r"items\.csv:3: (.|\n)*too many fields"):
            read_table(tmp_path / "items.csv")

    def test_bytes_that_are_no_text(self, tmp_path: Path):
        (tmp_path / "users.txt").write_bytes(b"\xff\xfe\x00u")
        with pytest.raises(DataError, match="cannot be read"):
            read_ids(tmp_path / "users.txt")

    def test_a_damaged_table(self, tmp_path: Path):
        (tmp_path / "users.parquet").write_bytes(b"PAR1 and nothing")
        with pytest.raises(DataError, match=r"users\.parquet: the file cannot be read"):
            read_table(tmp_path / "users.parquet")

    def test_an_unknown_kind_of_table(self, tmp_path: Path):
        (tmp_path / "items.xlsx").write_bytes(b"")
        with pytest.raises(DataError, match=r"unknown(.|\n)*\.parquet, \.csv, \.tsv, \.jsonl"):
            read_table(tmp_path / "items.xlsx")


class TestWrite:
    FRAME = pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "rank": [1], "score": [0.5]})

    @pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
    def test_every_kind_reads_back(self, tmp_path: Path, suffix: str):
        path = tmp_path / "deep" / f"recs{suffix}"
        write_table(self.FRAME, path)
        read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
        assert read(path).equals(self.FRAME)

    def test_an_unknown_kind_is_refused_and_nothing_is_written(self, tmp_path: Path):
        with pytest.raises(DataError, match=r"--out(.|\n)*recs\.pdf(.|\n)*\.parquet, \.csv, \.jsonl"):
            write_table(self.FRAME, tmp_path / "recs.pdf")
        assert list(tmp_path.iterdir()) == []
