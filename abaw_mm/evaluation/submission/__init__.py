"""The file that a challenge is sent: fill the gaps, write it, check it."""

from .check_submission import check_submission
from .gap_filler import GapFiller
from .submission import Submission

__all__ = ['GapFiller', 'Submission', 'check_submission']
