"""The figures and the HTML report of a study."""

from ecg_spark.report.drawing import draw_heart, draw_locus, draw_report
from ecg_spark.report.page import write_report

__all__ = ["draw_heart", "draw_locus", "draw_report", "write_report"]
