"""Turns results.json into sentences, figures, tables and one page. No jax."""

from blurjax.report.page import make_report, write_report
from blurjax.report.sentences import answer

__all__ = ["answer", "make_report", "write_report"]
