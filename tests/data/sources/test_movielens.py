from __future__ import annotations

from pathlib import Path

import pytest

from recmind.data.sources.movielens import GENRES
from recmind.errors import DataError


def flags(*genres: str) -> str:
    return "|".join("1" if genre in genres else "0" for genre in GENRES)


def test_100k(tmp_path: Path, read) -> None:
    (tmp_path / "u.data").write_text("196\t242\t3\t881250949\n186\t302\t3\t891717742\n")
    item = "242|Kolya, The (1996)|24-Jan-1997||http://us.imdb.com/M|" + flags("Comedy", "Children's") + "\n"
    item += '302|L\'ôtel "Été" (1997)|01-Jan-1997|||' + flags("unknown") + "\n"
    (tmp_path / "u.item").write_bytes(item.encode("latin-1"))
    (tmp_path / "u.user").write_text("196|49|M|writer|55105\n")
    (tmp_path / "u1.base").write_text("1\t1\t5\t874965758\n")
    tables, problems = read("movielens", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("196", "242", 881250949, 3.0), ("186", "302", 891717742, 3.0)]
    assert tables["items"].rows() == [
        ("242", "The Kolya (1996)", "Children's, Comedy"),
        ("302", 'L\'ôtel "Été" (1997)', None),
    ]
    assert tables["users"].rows() == [("196", "man, aged 49, writer")]


def test_1m(tmp_path: Path, read) -> None:
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n1::661::3::978302109\n")
    movies = "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n661::Misérables, Les (1995)::Drama|Musical\n"
    (tmp_path / "movies.dat").write_bytes(movies.encode("latin-1"))
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    tables, problems = read("movielens", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("1", "1193", 978300760, 5.0), ("1", "661", 978302109, 3.0)]
    assert tables["items"]["title"].to_list() == ["One Flew Over the Cuckoo's Nest (1975)", "Les Misérables (1995)"]
    assert tables["items"]["categories"].to_list() == ["Drama", "Drama, Musical"]
    assert tables["users"].rows() == [("1", "woman, aged under 18, K-12 student")]


def test_10m_movies_are_utf8(tmp_path: Path, read) -> None:
    (tmp_path / "ratings.dat").write_text("1::661::3.5::978302109\n")
    (tmp_path / "movies.dat").write_text("661::Misérables, Les (1995)::Drama\n", encoding="utf-8")
    assert read("movielens", tmp_path)[0]["items"]["title"].to_list() == ["Les Misérables (1995)"]


def test_latest_in_a_subfolder(tmp_path: Path, read) -> None:
    folder = tmp_path / "ml-latest-small"
    folder.mkdir()
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\r\n1,11,4.5,964982703\r\n")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\r\n11,"American President, The (1995)",Comedy|Drama\r\n12,Dracula,(no genres listed)\r\n'
    )
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\r\n1,0114709,862\r\n")
    tables, problems = read("movielens", tmp_path)
    assert problems.total == 0
    assert tables["interactions"].rows() == [("1", "11", 964982703, 4.5)]
    assert tables["items"].rows() == [
        ("11", "The American President (1995)", "Comedy, Drama"),
        ("12", "Dracula", None),
    ]


def test_a_folder_without_ratings_says_what_it_holds(tmp_path: Path, read) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A,B\n")
    with pytest.raises(DataError, match=r"(?s)no file with interactions.*movies\.csv.*ratings\.dat"):
        read("movielens", tmp_path)
