"""Codes in one form, and maps of phecodes as they are published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.diseases.codes import (
    above,
    chapter,
    normal_code,
    normal_phecode,
    phecode_ranges,
    vocabulary_of,
)
from ecg_spark.diseases.phecode_map import BOTH, MEN, WOMEN, read_maps
from ecg_spark.errors import DataError

PHEWAS_ICD10 = """ICD10,ICD10 String,PHECODE,Phenotype,Excl. Phecodes,Excl. Phenotypes
I25.1,Atherosclerotic heart disease,411.4,Coronary atherosclerosis,410-414.99,ischemic
I48,Atrial fibrillation and flutter,427.21,Atrial fibrillation,426-427.99,cardiac conduction
I48.9,"AF, unspecified",427.21,Atrial fibrillation,426-427.99,cardiac conduction
I44.7,"Left bundle-branch block, unspecified",426.32,Left bundle branch block,426-427.99,x
C61,Prostate,185,Cancer of prostate,,
A04.7,Enterocolitis due to Clostridium difficile,8.52,Intestinal infection,001-009.99,x
"""
DEFINITIONS = """phecode,phenotype,phecode_exclude_range,sex,rollup,leaf,category_number,category
427.21,Atrial fibrillation,426-427.99,,1,1,8,circulatory system
427.2,Atrial fibrillation and flutter,426-427.99,,1,0,8,circulatory system
427,Cardiac dysrhythmias,426-427.99,,1,0,8,circulatory system
426.32,Left bundle branch block,426-427.99,,1,1,8,circulatory system
185,Cancer of prostate,,Male,1,1,2,neoplasms
008.52,Intestinal infection due to C. difficile,001-009.99,Both,1,1,1,infectious diseases
411.4,Coronary atherosclerosis,410-414.99,Both,1,1,8,circulatory system
"""
PHECODEX_MAP = """"phecode","ICD","vocabulary_id"
"CV_416","I48","ICD10"
"CV_416.2","I48","ICD10"
"CV_416.21","I48.0","ICD10CM"
"CV_416.2","427.31","ICD9CM"
"CA_106.1","C51","ICD10"
"""
PHECODEX_INFO = """"phecode","phecode_string","category_num","category","sex","icd10_only"
"CV_416","Cardiac arrhythmia and conduction disorders","8","Cardiovascular","Both",0
"CV_416.2","Atrial fibrillation and flutter","8","Cardiovascular","Both",0
"CV_416.21","Atrial fibrillation","8","Cardiovascular","Both",0
"CA_106.1","Malignant neoplasm of external female genital organs","2","Neoplasms","Female",0
"""
PHECODEX_LABELS = """"phenotype","description","icd10_only","groupnum","group","color"
"CV_416","Cardiac arrhythmia and conduction disorders",0,8,"Cardiovascular","red"
"""


@pytest.fixture
def maps(tmp_path):
    """A function that writes tables and reads them as maps."""

    def read(*contents):
        paths = []
        for k, content in enumerate(contents):
            paths.append(tmp_path / f"{k}.csv")
            paths[-1].write_text(content)
        return read_maps([str(path) for path in paths])

    return read


@given(st.integers(0, 999), st.text("0123456789", max_size=3))
def test_a_phecode_in_normal_form_stays_and_is_below_all_that_it_belongs_to(whole, decimals):
    phecode = normal_phecode(f"{whole}.{decimals}" if decimals else str(whole))
    assert normal_phecode(phecode) == phecode
    assert float(phecode) == float(f"{whole}.{decimals or 0}")
    for higher in above(phecode):
        assert phecode.startswith(higher)
        assert len(higher) < len(phecode)


def test_codes_are_compared_without_dots_blanks_and_capitals():
    assert normal_code(" i25.1 ", "icd10") == normal_code("I251", "icd10") == "I251"
    assert normal_phecode("8.50") == "008.5"
    assert normal_phecode("cv_416.21") == "CV_416.21"
    assert normal_phecode("I48") is None
    assert [vocabulary_of(text) for text in ("10", "ICD-10-CM", "9.0", "snomed")] == [
        "icd10", "icd10", "icd9", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("disease", "category"),
    [("A00", "infections"), ("D49", "neoplasms"), ("D50", "blood and immunity"),
     ("H59", "eye"), ("H60", "ear"), ("I48", "circulatory"), ("T98", "injuries and poisoning"),
     ("Z99", "factors of health")],
)  # fmt: skip
def test_chapters_of_icd10(disease, category):
    assert chapter(disease) == category


def test_phewas_map_with_its_definitions_is_read_as_it_is(maps):
    found = maps(PHEWAS_ICD10, DEFINITIONS)
    assert found.of("I489", "icd10") == ("427.21", "427.2", "427")
    assert found.of("I48X", "icd10") == ("427.21", "427.2", "427")  # as UK Biobank fills it up
    assert found.of("I2510", "icd10") == ("411.4",)  # by the code above it
    assert found.of("Q999", "icd10") == ()
    assert found.describe("008.52").name == "Intestinal infection"
    assert found.describe("185").sex == MEN
    assert found.describe("427.2").category == "circulatory system"
    assert sorted(found.excludes("427.2", ["427", "426.32", "411.4", "427.2"])) == ["426.32", "427"]
    assert found.excludes("185", ["427", "008.52"]) == []
    assert any("more than one name for 1 phecodes" in note for note in found.notes)


def test_phecodex_is_read_as_it_is(maps):
    found = maps(PHECODEX_MAP, PHECODEX_INFO, PHECODEX_LABELS)
    assert set(found.of("I48", "icd10")) == {"CV_416", "CV_416.2"}
    assert found.of("I480", "icd10") == ("CV_416.21", "CV_416.2", "CV_416")
    assert found.of("42731", "icd9") == ("CV_416.2", "CV_416")
    assert found.describe("CA_106.1").sex == WOMEN
    assert found.describe("CV_416").category == "Cardiovascular"
    assert found.notes == ["the map gives several phecodes to 1 codes: all of them count"]


def test_phecodes_themselves_need_definitions_only(maps):
    found = maps(DEFINITIONS)
    assert found.of("427.21", "phecode") == ("427.21", "427.2", "427")
    assert found.of("999", "phecode") == ()


def test_without_a_map_a_disease_is_three_characters_of_icd10():
    found = read_maps([])
    assert found.of("I489", "icd10") == ("I48",)
    assert found.of("427.31", "icd10") == ()
    assert found.of("42731", "icd9") == ()
    assert found.describe("I48").category == "circulatory"
    assert found.describe("I48").sex == BOTH


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        (["a,b\n1,2\n"], "has no column phecode; it has a, b"),
        (["phecode,code\n427,I48\n"], "no column that names their vocabulary"),
        (["phecode,ICD10\nI48,427\n"], "1 entries that are not phecodes"),
        (["phecode,sex\n427,unsure\n"], "1 sexes other than"),
        ([DEFINITIONS, "phecode,male_only,female_only\n185,FALSE,FALSE\n"], "185 to both sexes"),
        (["phecode,phecode_exclude_range\n427,all others\n"], "exclusion range that is no list"),
    ],
)
def test_a_map_that_cannot_be_relied_on_is_refused_in_a_sentence(maps, contents, says):
    with pytest.raises(DataError, match=says):
        maps(*contents)


def test_exclusion_ranges_hold_several_and_single_phecodes():
    assert phecode_ranges("426-427.99, 430") == [(None, 426, 427.99), (None, 430, 430)]
    assert phecode_ranges("") == []
