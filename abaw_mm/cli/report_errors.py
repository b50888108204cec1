"""How a tool ends when something goes wrong: one message for a mistake, a traceback for a bug."""

import dis
import functools
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from abaw_mm.compat.cpu import LAUNCHERS

TRACEBACK = 'ABAW_MM_TRACEBACK'  # environment variable: if set, errors are shown as Python does
# A `raise` of one of these, in one of these packages, was written for whoever set something wrong.
ADVISERS = ('abaw_mm', 'mmengine', 'mmcv', 'mmpretrain')
ADVICE = (ValueError, TypeError, KeyError, OSError, ImportError, pickle.UnpicklingError)
AHEAD = 3.0  # seconds that the first rank has to tell, as its log ends with it


def is_advice(error: BaseException) -> bool:
    """Whether an error tells what to mend in a setting, and no bug has to be looked for.

    So it is if it was raised on purpose, by a ``raise``, or if a config names an argument that a
    class does not have, or lacks one.
    """
    place = error.__traceback__
    if place is None or not isinstance(error, ADVICE):
        return False
    while place.tb_next is not None:
        place = place.tb_next
    frame = place.tb_frame
    if frame.f_globals.get('__name__', '').split('.')[0] not in ADVISERS:
        return False
    raised = dis.opname[frame.f_code.co_code[place.tb_lasti]] == 'RAISE_VARARGS'
    return raised or (isinstance(error, TypeError) and 'argument' in str(error))


def first_to_fail() -> bool:
    """Whether no other process of torchrun here has told of a failure; rank 0 goes ahead.

    Ranks make the same mistake together, and the failure of one brings the others down: the first
    is the one to read.
    """
    ranks = {os.environ.get(names.get('RANK', ''), '0') for names in LAUNCHERS.values()}
    if ranks != {'0'}:
        time.sleep(AHEAD)
    error_file = os.environ.get('TORCHELASTIC_ERROR_FILE')  # <folder of this start>/<rank>/...
    if not error_file:
        return True
    try:
        Path(error_file).parents[1].joinpath('told').touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # better twice than never
        return True
    return True


def report_errors(main: Callable[[], int | None]) -> Callable[[], int]:
    """Let the main function of a tool return its exit status, and tell what it raises.

    A mistake (:func:`is_advice`) is told in its own words, anything else with its traceback; of
    several processes the first tells. The status is what it returns (None: 0), 1 after an error and
    130 after Ctrl-C; argparse leaves with 2 after wrong flags. With ``ABAW_MM_TRACEBACK=1`` in the
    environment errors are left to Python and torchrun.
    """

    @functools.wraps(main)
    def tool() -> int:
        try:
            return record(main)() or 0  # recorded for those who start torchrun themselves
        except KeyboardInterrupt:
            if first_to_fail():
                print('interrupted', file=sys.stderr)
            return 130
        except Exception as error:  # whatever it is, it ends here
            if os.environ.get(TRACEBACK):
                raise
            if first_to_fail():
                _tell(error)
            return 1

    return tool


def _tell(error: Exception) -> None:
    if not is_advice(error):
        traceback.print_exception(type(error), error, error.__traceback__)
        return
    text = error.args[0] if isinstance(error, KeyError) and error.args else error  # no quotes
    print(
        f'\n{Path(sys.argv[0]).name}: {text}\n(for where it arose: {TRACEBACK}=1)', file=sys.stderr
    )
