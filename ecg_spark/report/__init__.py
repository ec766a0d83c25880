"""Figures and the HTML report of a study."""

from ecg_spark.report.page import write_report

__all__ = ["write_report"]
