"""Turns results.json into sentences, figures, tables and one page. No jax."""

from blurjax.report.comparison import compare_runs
from blurjax.report.comparison_text import comparison_text
from blurjax.report.page import make_report, write_report
from blurjax.report.sentences import answer

__all__ = ["answer", "compare_runs", "comparison_text", "make_report", "write_report"]
