"""What there is to be read on an object store: names that keep their scheme, and stamps."""

import fsspec
import pandas as pd

from ecg_spark.pipeline.ingest import listing_digest
from ecg_spark.pipeline.sources import group, list_files


def put(bucket, content):
    for name, text in content.items():
        with fsspec.open(f"{bucket}/{name}", "wb") as file:
            file.write(text)


def listed(path, manifest=None, folder=""):
    return [name for name, _, _ in list_files(path, manifest, folder)]


def test_files_on_a_store_are_listed_by_their_uris(bucket):
    put(bucket, {"ecg/a.xml": b"a", "ecg/more/b.xml": b"b", "ecg/.hidden": b"", "other.txt": b"c"})
    both = [f"{bucket}/ecg/a.xml", f"{bucket}/ecg/more/b.xml"]
    assert listed(f"{bucket}/ecg") == both
    assert listed(f"{bucket}/ecg/*.xml") == both[:1]
    assert listed(f"{bucket}/ecg/**/*.xml") == both
    manifest = pd.DataFrame({"uri": ["ecg/a.xml"], "participant_id": ["P1"]})
    assert listed(None, manifest, bucket) == both[:1]


def test_a_changed_recording_on_a_store_is_noticed_though_its_size_is_the_same(bucket):
    put(bucket, {"ecg/a.xml": b"one", "ecg/b.xml": b"two"})
    before = listing_digest(f"{bucket}/ecg"), dict(_stamps(f"{bucket}/ecg"))
    assert listing_digest(f"{bucket}/ecg") == before[0]
    put(bucket, {"ecg/b.xml": b"2nd"})
    assert listing_digest(f"{bucket}/ecg") != before[0]
    after = dict(_stamps(f"{bucket}/ecg"))
    changed = [name for name in after if after[name] != before[1][name]]
    assert changed == [f"{bucket}/ecg/b.xml"]


def test_a_manifest_names_files_on_a_store_by_their_relative_paths(bucket):
    put(bucket, {"ecg/x/1.xml": b"a", "ecg/y/1.xml": b"b"})
    manifest = pd.DataFrame({"uri": ["x/1.xml", "y/1.xml"], "participant_id": ["P1", "P2"]})
    for path in (f"{bucket}/ecg", f"{bucket}/ecg/*/*.xml"):
        files = list_files(path, manifest, "")
        sources = group(files, path, manifest, "", lambda doubts: {})
        assert [source.owners[0]["participant_id"] for source in sources] == ["P1", "P2"]


def _stamps(path):
    files = list_files(path, None, "")
    return [(one.path, one.stamp) for one in group(files, path, None, "", lambda doubts: {})]
