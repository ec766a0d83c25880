"""A network that is cut while recordings are read from an object store."""

import socket
import threading
import time
from contextlib import suppress

import fsspec
import pytest

from ecg_spark.store import Store
from tests.chaos.conftest import (
    assert_same_rows,
    counts,
    in_process,
    run_of,
    sentence_of,
    tables_of,
    wait_for,
)


class Wire:
    """A connection to a server that can be cut: whoever uses it finds nobody there."""

    def __init__(self, host, port):
        self._target, self._open, self.carried = (host, port), [], 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_cut = False
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self, seconds):
        self._is_cut = True
        for one in list(self._open):
            one.close()
        time.sleep(seconds)
        self._is_cut = False

    def _serve(self):
        while True:
            client, _ = self._listener.accept()
            if self._is_cut:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source, sink):
        with suppress(OSError):
            while part := source.recv(1 << 16):
                self.carried += len(part)
                sink.sendall(part)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def wire(s3_server):
    host, _, port = s3_server.removeprefix("http://").rpartition(":")
    return Wire(host, int(port))


def put_recordings(whole, bucket):
    """The study's recordings and its manifest on the store; the store's size in bytes."""
    files, base = fsspec.core.url_to_fs(bucket)
    files.put(whole.content["ecg"]["path"], f"{base}/ecg", recursive=True)
    files.put_file(whole.content["ecg"]["manifest"]["path"], f"{base}/manifest.csv")
    return files.du(f"{base}/ecg")


def recordings_of(publication):
    """The table, but for where the files lay."""
    return tables_of(publication.folder)["recordings"].drop(columns="path")


@pytest.mark.parametrize("seconds", [10, 3600])
def test_network_cut_while_recordings_are_read(whole, bucket, wire, seconds, tmp_path):
    """For ten seconds: no row is lost. For good: one sentence, nothing published."""
    size = put_recordings(whole, bucket)
    ecg = whole.content["ecg"]
    ecg = ecg | {"path": f"{bucket}/ecg"}
    ecg["manifest"] = ecg["manifest"] | {"path": f"{bucket}/manifest.csv"}
    study = whole.until("ingest", tmp_path, ecg=ecg)
    job = in_process("ingest", study, AWS_ENDPOINT_URL=f"http://127.0.0.1:{wire.port}")
    wait_for(lambda: run_of(study, "ingest") and wire.carried > size / 4)
    cutting = threading.Thread(target=wire.cut, args=(seconds,), daemon=True)
    cutting.start()
    code, said, lines = sentence_of(job, 400)
    if seconds < 60:
        assert code == 0, said
        cutting.join()
        found = Store(str(tmp_path / "out")).require("ingest")
        expected = Store(str(whole.out)).require("ingest")
        assert counts(found.summary) == counts(expected.summary)
        assert_same_rows(recordings_of(expected), recordings_of(found))
    else:
        assert code == 4, lines[-5:]
        assert "store" in said
        assert run_of(study, "ingest") is None
