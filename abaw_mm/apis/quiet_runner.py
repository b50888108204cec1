"""A Runner that prints what a person reads, and logs the rest to its file."""

import logging
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
)


class QuietRunner(Runner):
    """Runner whose environment, hooks and config are in the log file only.

    Warnings, scores, the lines of the logging interval and everything that this package logs are
    printed as well.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger of the run, as ``Runner`` does."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(is_for_people)
        return logger


def is_for_people(record: logging.LogRecord) -> bool:
    """Return whether a record is printed.

    >>> config = logging.LogRecord('', logging.INFO, '', 0, 'Config:\\nmodel = ...', (), None)
    >>> is_for_people(config)
    False
    """
    text = record.getMessage().lstrip('\n- ')
    return record.levelno > logging.INFO or not text.startswith(FOR_THE_FILE)
