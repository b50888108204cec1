"""What the commands share: arguments, error reports, tables."""

from .report_errors import report_errors
from .tool_parser import ToolParser

__all__ = ['ToolParser', 'report_errors']
