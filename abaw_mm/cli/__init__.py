"""Arguments, error reporting and tables that the commands share.

Every command ends with one of these exit statuses:

====== ==============================================================================
status meaning
====== ==============================================================================
0      Done; or what was checked is in order.
1      Failed, with one line on what to fix; or what was checked is not in order. A
       bug also ends with 1, and shows its traceback.
2      Wrong arguments, as argparse reports them.
130    Interrupted with Ctrl-C.
====== ==============================================================================
"""

from .arguments import (
    absent_argument,
    cfg_options_argument,
    face_arguments,
    fill_arguments,
    find_checkpoint,
    fold_arguments,
    json_argument,
    onnx_argument,
    smooth_argument,
    smoothing_arguments,
    start_index_argument,
    template_argument,
    width_argument,
)
from .command_parser import CommandParser
from .report_errors import report_errors
from .run_names import make_names
from .run_parser import RunParser
from .tables import make_console, make_table

__all__ = [
    'CommandParser',
    'RunParser',
    'absent_argument',
    'cfg_options_argument',
    'face_arguments',
    'fill_arguments',
    'find_checkpoint',
    'fold_arguments',
    'json_argument',
    'make_console',
    'make_names',
    'make_table',
    'onnx_argument',
    'report_errors',
    'smooth_argument',
    'smoothing_arguments',
    'start_index_argument',
    'template_argument',
    'width_argument',
]
