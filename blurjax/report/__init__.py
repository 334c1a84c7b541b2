"""Turns results.json into sentences, figures, tables and one page. No jax."""

from blurjax.report.page import make_report, write_report

__all__ = ["make_report", "write_report"]
