"""How paths and URIs are written: one form for Spark and Python, whatever the user wrote."""

import pytest
from fsspec.core import url_to_fs

from ecg_spark.errors import UsageError
from ecg_spark.locations import content_tag, is_local, join, resolve, spelled, spelled_like, usual
from ecg_spark.study import load_study
from tests.builders.study_file import MINIMAL, write_study

AZURE = "abfss://box@account.dfs.core.windows.net"


@pytest.mark.parametrize(
    ("given", "one_form"),
    [
        ("s3://b/x y", "s3a://b/x y"),
        ("s3n://b/x", "s3a://b/x"),
        ("S3A://b/x", "s3a://b/x"),
        ("s3:/b/x", "s3a://b/x"),  # what pathlib makes of it
        ("gcs://b/x", "gs://b/x"),
        (f"{AZURE}/x", f"{AZURE}/x"),
        (AZURE.replace("abfss", "abfs") + "/x", f"{AZURE}/x"),
        ("dbfs:/Volumes/a/b/c/x", "dbfs:///Volumes/a/b/c/x"),
        ("dbfs:///x", "dbfs:///x"),
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("https://host/people.csv", "https://host/people.csv"),
        ("/data/x", "/data/x"),
        ("data/a:b/x", "data/a:b/x"),
        ("/dbfs/x", "/dbfs/x"),
    ],
)
def test_every_way_to_write_a_place_becomes_one(given, one_form):
    assert spelled(given) == one_form
    assert spelled(one_form) == one_form
    assert is_local(given) or not is_local(one_form) or given.startswith("file:")


@pytest.mark.parametrize(
    ("given", "one_form"),
    [
        ("/dbfs/x", "dbfs:///x"),
        ("file:/dbfs/x", "dbfs:///x"),
        ("/Volumes/a/b/c", "dbfs:///Volumes/a/b/c"),
        ("/Workspace/x", "/Workspace/x"),
    ],
)
def test_on_databricks_a_mounted_path_is_what_spark_calls_it(given, one_form, monkeypatch):
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "15.4")
    assert spelled(given) == one_form


@pytest.mark.parametrize(
    ("uri", "mounted"),
    [("dbfs:///x/y", "/dbfs/x/y"), ("dbfs:///Volumes/a/b/c", "/Volumes/a/b/c")],
)
def test_python_finds_databricks_files_where_they_are_mounted(uri, mounted):
    files, path = url_to_fs(uri)
    assert path == mounted
    assert files.unstrip_protocol(path) == uri
    assert spelled_like("dbfs:///*", [path]) == [uri]


def test_an_azure_place_without_its_account_is_refused_with_its_key(tmp_path):
    path = write_study(tmp_path, MINIMAL | {"output": "abfss://box/out"})
    with pytest.raises(UsageError, match=r"output: lacks its account: write container@account"):
        load_study(path)


@pytest.mark.parametrize(
    ("folder", "path", "place"),
    [
        ("s3a://b/studies", "ecg/*.xml", "s3a://b/studies/ecg/*.xml"),
        ("s3a://b/studies", "../people.csv", "s3a://b/people.csv"),
        ("s3a://b/studies", "../../../people.csv", "s3a://b/people.csv"),
        ("s3a://b/studies", "./out/", "s3a://b/studies/out"),
        ("s3a://b/studies", "s3://other/a//b", "s3a://other/a//b"),
        ("s3a://b/studies", "/data/x", "/data/x"),
        ("dbfs:///Volumes/a/b/c", "out", "dbfs:///Volumes/a/b/c/out"),
        ("dbfs://", "out", "dbfs:///out"),
        ("/", "out", "/out"),
        ("/data/studies", "../x", "/data/x"),
        ("/data/studies", "gs://b/x", "gs://b/x"),
    ],
)
def test_a_relative_path_starts_from_the_folder_wherever_that_lies(folder, path, place):
    assert resolve(folder, path) == place


def test_names_in_a_table_are_joined_as_they_are_written():
    assert join("/data/links/", "a/../b.xml") == "/data/links/a/../b.xml"
    assert join("s3a://b/x", "s3://c/b.xml") == "s3a://c/b.xml"


@pytest.mark.parametrize(
    ("like", "name", "place"),
    [
        ("s3a://b/x/*.bed", "b/x/1.bed", "s3a://b/x/1.bed"),
        ("s3://b/x/*.bed", "b/x/1.bed", "s3://b/x/1.bed"),
        ("gs://b/x/*.bed", "b/x/1.bed", "gs://b/x/1.bed"),
        (f"{AZURE}/x/*.bed", "box/x/1.bed", f"{AZURE}/x/1.bed"),
        ("memory://b/x/*.bed", "/b/x/1.bed", "memory://b/x/1.bed"),
        ("/data/*.bed", "/data/1.bed", "/data/1.bed"),
    ],
)
def test_what_a_glob_finds_is_written_as_the_glob_is(like, name, place):
    assert spelled_like(like, [name]) == [place]


@pytest.mark.parametrize(
    ("place", "uri"),
    [
        ("s3a://b/x", "s3://b/x"),
        ("gs://b/x", "gs://b/x"),
        (f"{AZURE}/x", f"{AZURE}/x"),
        ("dbfs:///Volumes/a/b/c", "file:///Volumes/a/b/c"),
        ("/data/a b", "file:///data/a%20b"),
    ],
)
def test_mlflow_is_told_a_place_in_words_that_it_knows(place, uri):
    assert usual(place) == uri


@pytest.mark.parametrize(
    ("info", "tag"),
    [
        ({"name": "a", "ETag": '"1"', "LastModified": "2026"}, '"1"'),
        ({"etag": "CJ2", "mtime": 3, "updated": "2026"}, "CJ2"),
        ({"last_modified": "2026", "size": 3}, "2026"),
        ({"LastModified": "2026", "ETag": ""}, "2026"),
        ({"updated": "2026"}, "2026"),
        ({"mtime": 12.5, "created": 3.0}, "12.5"),
        ({"size": 3}, ""),
    ],
)
def test_content_tag_is_the_tag_or_time_in_any_stores_spelling(info, tag):
    assert content_tag(info) == tag
