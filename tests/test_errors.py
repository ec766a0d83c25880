"""How an error is told."""

from ecg_spark.errors import DataError


def test_a_notebook_shows_one_sentence_that_names_no_folder():
    error = DataError("The table /data/of-jane/people.csv is empty: name another.")
    assert error._render_traceback_() == ["DataError: The table people.csv is empty: name another."]


def test_the_settings_of_hails_jar_can_be_copied_from_the_message():
    text = "set spark.jars=file:///opt/x/hail.jar, spark.driver.extraClassPath=/opt/x/hail.jar"
    assert str(DataError(text)) == text
