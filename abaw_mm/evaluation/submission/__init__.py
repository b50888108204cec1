"""Challenge submissions: fill gaps, write the file, check it."""

from .check_submission import check_submission
from .gap_filler import GapFiller
from .submission import Submission

__all__ = ['GapFiller', 'Submission', 'check_submission']
