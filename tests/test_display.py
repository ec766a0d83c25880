"""What a notebook shows: numbers and summaries for a reader, and nothing that it must not."""

import logging

from ecg_spark.display import Progress, line, table, whole, words
from ecg_spark.study import Study
from tests.builders.study_file import MINIMAL


def test_values_are_words_and_an_address_shows_no_password():
    assert words([1234567, 0.123456, None, "a"]) == "1\u202f234\u202f567, 0.123, –, a"
    assert words({"vae": 3, "pca": 2}) == "vae 3, pca 2"
    assert words("https://me:secret@host/x") == "https://host/x"


def test_a_line_has_the_counts_of_a_summary_and_not_what_is_long():
    summary = {"n_in": 12, "run_id": "4b48", "icc": [0.9], "loci": {"vae": 3}, "seconds": 1.5}
    summary |= {"lambda": {f"vae_{k:02d}": 1.0 for k in range(20)}}
    assert line(summary) == "n in: 12 · loci: vae 3"


def test_what_is_long_in_a_summary_can_be_unfolded():
    filters = [{"filter": "call rate", "samples": 90}]
    shown, *rest = whole("genotypes", {"samples": 90, "filters": filters}).split("<details>")
    assert "90" in shown
    assert "call rate" not in shown
    assert "call rate" in rest[0]


def test_markup_in_names_is_escaped():
    html = table("<b>", ("<i>",), [["<script>"]])
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;" in html


def test_a_study_shows_what_its_file_says_before_the_defaults():
    content = MINIMAL | {"seed": 7, "mlflow": {"tracking_uri": "https://me:secret@host"}}
    said, defaults = Study.model_validate(content)._repr_html_().split("<details>")
    assert "seed" in said
    assert "ecg.path" in said
    assert "gwas.p_threshold" in defaults
    assert "gwas.p_threshold" not in said
    assert "secret" not in said + defaults


def test_progress_out_of_a_notebook_shows_nothing_and_leaves_logging_alone(capsys):
    logger = logging.getLogger("ecg_spark")
    before = (logger.level, list(logger.handlers))
    with Progress(["ingest", "average"]) as progress:
        progress.done({"step": "ingest", "seconds": 2.0})
        assert (logger.level, list(logger.handlers)) == before
    assert capsys.readouterr() == ("", "")
