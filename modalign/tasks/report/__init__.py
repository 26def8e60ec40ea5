"""`report.html`: one self-contained file that says what was measured, on whom, and beside what."""

from modalign.tasks.report.examples import Gallery, gallery
from modalign.tasks.report.page import render, write_report

__all__ = ["Gallery", "gallery", "render", "write_report"]
