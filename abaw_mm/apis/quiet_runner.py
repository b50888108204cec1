"""A Runner that prints what a person reads, and logs the rest to its file."""

import logging
import re
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

# First words of what mmengine logs at the start of a run and nobody reads while it runs. The first
# four are dozens of lines each.
FOR_THE_FILE = (
    'System environment:',
    'Runtime environment:',
    'Hooks will be executed',
    'Config:',
    'Distributed training is not used',
    'Enabling the "efficient_conv_bn_eval"',
    'Checkpoints will be saved to',
    'Exp name:',
    'Using env variable',
    'Load checkpoint from',
    'The previous best checkpoint',
)
SCORES = re.compile(r'(Iter|Epoch)\((val|test)\)')  # a line with all scores


class QuietRunner(Runner):
    """Runner whose environment, hooks and config are in the log file only.

    Warnings, scores, the lines of the logging interval and everything that this package logs are
    printed as well.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger of the run, as ``Runner`` does."""
        logger = super().build_logger(*args, **kwargs)
        print_for_people(logger)
        return logger


def print_for_people(logger: logging.Logger) -> None:
    """Let a logger print only what a person reads. Its log files keep all."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(is_for_people)


def is_for_people(record: logging.LogRecord) -> bool:
    """Return whether a record is printed.

    Lines that only have scores of our metrics are not: the metrics print a table.

    >>> def is_printed(text):
    ...     return is_for_people(logging.LogRecord('', logging.INFO, '', 0, text, (), None))
    >>> is_printed('Config:\\nmodel = ...')
    False
    >>> is_printed('Iter(val) [5/5]    affwild2/macro_f1: 48.5162  time: 1.0600')
    False
    >>> is_printed('Iter(val) [5/5]    affwild2/macro_f1: 48.5162  accuracy/top1: 50.2496')
    True
    """
    if record.levelno > logging.INFO:
        return True
    text = record.getMessage().lstrip('\n- ')
    prefixes = set(re.findall(r'([\w.-]+)/\S+: ', text)) if SCORES.match(text) else set()
    return not text.startswith(FOR_THE_FILE) and prefixes != {'affwild2'}
