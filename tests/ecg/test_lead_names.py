"""Lead names: whatever spelling a device chooses, one lead, and never two channels onto it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, Reason, RecordingError, read_recording
from ecg_spark.ecg.formats.leads import lead_name
from tests.builders.ecg_files import edf, heart

LIMB = {"I": 1, "II": 2, "III": 3}


def cores(lead: str) -> list[str]:
    """What devices call a lead, before any prefix or suffix."""
    if lead in LIMB:
        number = LIMB[lead]
        signs = [f"D{lead}", f"D{number}", f"L{number}", f"L{lead}", f"D-{lead}", f"D {number}"]
        return [lead, chr(0x2160 + number - 1), *signs]
    if lead.startswith("V"):
        return [lead, f"C{lead[1]}", f"V-{lead[1]}", f"V {lead[1]}", f"C_{lead[1]}"]
    return [lead, f"aV-{lead[2]}", f"a V{lead[2]}", f"av_{lead[2]}"]


PREFIXES = (
    "", "ECG ", "EKG ", "ECG-", "EKG-", "ECG:", "ECG: ", "ECG_", "ECG.", "ECG/", "ECG - ", "Lead ",
    "Lead-", "LEAD_", "Lead: ", "ECG Lead ", "ECG-Lead-", "EKG:lead:", "MDC_ECG_LEAD_",
    "mdc_ecg_lead_", "MDC_ECG_ELEC_POTL_", "Ableitung ", "Abl. ", "Dérivation ", "derivación ",
    "ECG", "Lead", "Limb lead ", "ECG \u2013 ", " ",
)  # fmt: skip
SUFFIXES = (
    "", "-Ref", " ref", "_REF", ":ref", "-WCT", " [uV]", "[µV]", " (mV)", "(μV)", " {mV}", " mV",
    " (Einthoven)", ", augmented voltage, right", " lead", " raw", "-Ref [uV]", " ECG", " [uV", ".",
    " (ECG)", " (500 Hz)",
)  # fmt: skip
CASES = (str, str.lower, str.upper, str.title)


@st.composite
def spellings(draw) -> tuple[str, str]:
    """A lead and one of its spellings."""
    lead = draw(st.sampled_from(LEADS))
    core = draw(st.sampled_from(cores(lead)))
    if draw(st.booleans()) and draw(st.booleans()):
        core = f"({core})" if draw(st.booleans()) else f"[{core}]"
    name = draw(st.sampled_from(PREFIXES)) + core + draw(st.sampled_from(SUFFIXES))
    return lead, draw(st.sampled_from(CASES))(name)


@given(spellings())
def test_every_spelling_of_a_lead_is_the_lead(drawn):
    lead, spelling = drawn
    assert lead_name(spelling) == lead


@given(spellings(), st.sampled_from(LEADS))
def test_difference_of_two_leads_is_not_a_lead(drawn, other):
    lead, spelling = drawn
    for between in ("-", " - ", "+", "/"):
        assert lead_name(f"{lead}{between}{other}") is None
    assert lead_name(f"{spelling} ({other})") in (lead if other == lead else None, None)


@given(
    st.sampled_from(LEADS),
    st.sampled_from(
        ["-{}", "ECG -{}", "Lead -{}", "\u2212{}", "ECG: -{}", "(-{})", "{} (inverted)", "inv {}",
         "{} [reversed]", "{} (neg)", "{} inverted", "minus {}", "{}neg", "{}, inverted", "{} (-)",
         "MDC_ECG_LEAD_-{}", "{} (inv)", "{} [inv.]", "{} (x -1)", "{} (*-1)", "{} (180°)",
         "{} (opposite)", "{} (upside down)", "{}, invertida"]
    ),
)  # fmt: skip
def test_an_inverted_lead_is_not_the_lead(lead, how):
    assert lead_name(how.format(lead)) is None


@pytest.mark.parametrize(
    "name",
    ["", "1", "ECG", "ECG 1", "ECG1", "ECG:1", "Ch 1", "Lead 4", "Lead 12", "V7", "V10", "V3R",
     "V4 (V4R)", "V4 (posterior)", "MLII", "IV", "IIII", "aVX", "VR", "X", "Y", "Z", "LA", "LA-RA",
     "Lead", "D4", "L12", "C7", "V", "RESP", "Pleth", "I1", "IV1", "V1V2", "aVR aVL", "I II",
     "V1_1", "I.1", "II~", "EDF Annotations", "Impedance I", "V1 (ohm)"],
)  # fmt: skip
def test_other_channel_names_are_not_leads(name):
    assert lead_name(name) is None


@given(
    st.sampled_from(LEADS),
    st.sampled_from(
        ["4th intercostal space", "0.05-150 Hz", "0-180 Hz", "mV", "Einthoven", "n-10"]
    ),
)
def test_a_remark_about_the_electrode_or_the_filter_leaves_the_lead_as_it_is(lead, remark):
    assert lead_name(f"{lead} ({remark})") == lead


@given(st.text(max_size=40))
def test_any_text_is_a_lead_or_none(text):
    assert lead_name(text) in (*LEADS, None)


def test_a_name_of_any_length_takes_no_time():
    assert lead_name("ECG " * 100_000 + "I") is None
    assert lead_name("I" + " (x)" * 24) == "I"


@given(st.permutations(INDEPENDENT_LEADS), st.data())
@settings(max_examples=20, deadline=None)
def test_two_channels_of_one_lead_are_refused_by_its_name(leads, data):
    lead = leads[0]
    other = data.draw(spellings().filter(lambda drawn: drawn[0] == lead))[1]
    rows = np.vstack([heart(), heart()[:1] // 2])
    # Latin-1, 16 characters: what an EDF label can hold.
    label = other.encode("latin-1", "ignore").decode("latin-1")[:12]
    if lead_name(f"ECG {label}") != lead:
        return
    with pytest.raises(RecordingError) as error:
        read_recording(edf(rows, labels=[*INDEPENDENT_LEADS, label]))
    assert error.value.reason == Reason.MALFORMED
    assert f"lead {lead} " in error.value.detail
