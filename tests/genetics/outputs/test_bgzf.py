"""Files in blocks with an index, joined from pieces, as htslib reads them."""

import gzip
import hashlib

import fsspec
import numpy as np
import pysam
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.outputs import bgzf

FILES = fsspec.filesystem("file")
NAMES = ["", "1", "2", "23"]


@st.composite
def drawn_pieces(draw):
    """Sorted records (contig, position, text), cut into pieces and those into additions."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.sampled_from([0, 1, 7, 300, 4_000]))
    length = draw(st.sampled_from([0, 60, 900]))
    spread = draw(st.sampled_from([10, 30_000, 300_000_000]))
    rng = np.random.default_rng(seed)
    contigs = np.sort(rng.integers(1, len(NAMES), count))
    positions = rng.integers(1, spread, count)
    positions = positions[np.lexsort((positions, contigs))]
    records = [
        (int(contig), int(position), "ACGT"[int(rng.integers(4))] * int(rng.integers(length + 1)))
        for contig, position in zip(contigs, positions, strict=True)
    ]
    cuts = np.sort(rng.integers(0, count + 1, draw(st.integers(0, 6))))
    return [[records[i] for i in own] for own in np.split(np.arange(count), cuts)], rng.integers(
        1, 50
    )


def add(piece, records):
    lines = [f"{NAMES[contig]}\t{position}\t{text}\n" for contig, position, text in records]
    piece.add(
        "".join(lines).encode(),
        np.cumsum([len(line) for line in lines], dtype=np.int64),
        np.array([one[0] for one in records], np.int64),
        np.array([one[1] for one in records], np.int64),
    )


@settings(max_examples=60, deadline=None)
@given(drawn_pieces())
def test_every_region_of_a_joined_file_is_found_and_nothing_else(tmp_path_factory, drawn):
    own, step = drawn
    pieces = []
    for records in own:
        piece = bgzf.Piece()
        for start in range(0, len(records), step * 10):
            add(piece, records[start : start + step * 10])
        pieces.append(piece.finish())
    path = tmp_path_factory.mktemp("bgzf") / "file.tsv.gz"
    digest, windows = bgzf.join(FILES, pieces, b"contig\tposition\ttext\n", str(path))
    (path.parent / "file.tsv.gz.tbi").write_bytes(bgzf.tabix(windows, NAMES, 1))
    assert digest == hashlib.md5(path.read_bytes()).hexdigest()
    records = [(NAMES[contig], position, text) for each in own for contig, position, text in each]
    lines = ["\t".join(map(str, one)) for one in records]
    assert gzip.decompress(path.read_bytes()).decode().split("\n")[1:-1] == lines
    with pysam.TabixFile(str(path)) as file:
        assert file.contigs == list(dict.fromkeys(one[0] for one in records))
        for number in range(0, len(records), max(1, len(records) // 10)):
            contig, start, _ = records[number]
            for end in (start, start + 20_000, start + 2_000_000):
                found = list(file.fetch(contig, start - 1, end))
                assert found == [
                    line for line, one in zip(lines, records, strict=True)
                    if one[0] == contig and start <= one[1] <= end
                ]  # fmt: skip


def test_only_the_blocks_of_a_region_are_read(tmp_path):
    piece = bgzf.Piece()
    texts = np.random.default_rng(1).bytes(20_000 * 50).hex()
    add(piece, [(1, 1 + 100 * i, texts[100 * i : 100 * i + 100]) for i in range(20_000)])
    path = tmp_path / "file.tsv.gz"
    _, windows = bgzf.join(FILES, [piece.finish()], b"head\n", str(path))
    here = windows[0] & 0xFFFFFFFF == 1_000_000 >> 14
    begin, end = windows[1:, here].ravel() >> 16
    assert 0 < end - begin < path.stat().st_size / 20
