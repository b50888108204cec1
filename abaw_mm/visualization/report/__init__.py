"""HTML report of one or more runs."""

from .report import make_report

__all__ = ['make_report']
