"""The files of a genotype set on an object store."""

import fsspec
import numpy as np
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.files import check, expand, genotype_files
from ecg_spark.genetics.genotypes.plink import pgen_dosages
from ecg_spark.genetics.genotypes.samples import read_fam
from ecg_spark.store import file_stamp
from tests.builders.genotype_sets import simulate_set, write_bed, write_pgen


@pytest.fixture
def put(bucket, tmp_path):
    """A function that brings the files that were written here to the store."""

    def copy():
        files, base = fsspec.core.url_to_fs(bucket)
        for path in sorted(tmp_path.iterdir()):
            files.put_file(str(path), f"{base}/genotypes/{path.name}")

    return copy


def test_a_glob_on_a_store_names_its_files_as_spark_reads_them(put, bucket, tmp_path):
    data = simulate_set(1)
    for name in ("chr1", "chr2"):
        write_bed(str(tmp_path / name), data)
    put()
    found = [f"{bucket}/genotypes/chr{number}.bed" for number in (1, 2)]
    assert expand(f"{bucket}/genotypes/*.bed") == found
    check(found, ".bed")
    whole = genotype_files(f"{bucket}/genotypes/chr*.bed")
    assert len(whole) == 6
    assert len({str(file_stamp(file)) for file in whole}) == 6
    assert read_fam(f"{bucket}/genotypes/chr1.fam") == data.samples
    with pytest.raises(DataError, match="do not exist"):
        expand(f"{bucket}/genotypes/*.vcf")


def test_a_pgen_on_a_store_is_read_from_a_copy(put, bucket, tmp_path):
    data = simulate_set(1)
    write_pgen(str(tmp_path / "set"), data)
    put()
    here, there = (
        pgen_dosages(f"{folder}/set.pgen", None, 2, len(data.samples))
        for folder in (tmp_path, f"{bucket}/genotypes")
    )
    np.testing.assert_array_equal(here, there)
