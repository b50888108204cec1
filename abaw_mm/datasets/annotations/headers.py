"""First lines of annotation files and lists, which tell the tracks apart."""

import os

from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.structures.tasks import ACTION_UNITS, AFFECTS, EXPRESSIONS

HEADER = ','.join(EXPRESSIONS)
HEADER_7 = ','.join(EXPRESSIONS[:7])  # the first edition has no 'Other'
# The first edition has eight action units, one of which the later ones do not have.
HEADER_8_UNITS = 'AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25'
HEADERS = {
    'expr': (HEADER, HEADER_7),
    'va': (','.join(AFFECTS),),
    'au': (','.join(ACTION_UNITS), HEADER_8_UNITS),
}
LIST_HEADER = f'image_location,{HEADER}'
LIST_HEADERS = {
    'expr': LIST_HEADER,
    'va': f'image_location,{",".join(AFFECTS)}',
    'au': f'image_location,{",".join(ACTION_UNITS)}',
    'mtl': 'image,valence,arousal,expression,aus',
}
FOLDERS = {
    'expr': 'EXPR_Recognition_Challenge',
    'va': 'VA_Estimation_Challenge',
    'au': 'AU_Detection_Challenge',
    'mtl': 'MTL_Challenge',
}


def normalise_header(line: str) -> str:
    """Return a header without blanks around its names.

    >>> normalise_header('valence, arousal')
    'valence,arousal'
    """
    return ','.join(name.strip() for name in line.split(','))


def find_track(header: str) -> str | None:
    """Return the track that a header belongs to, None if it is unknown."""
    for task in HEADERS:
        if header in HEADERS[task]:
            return task
    for task, known in LIST_HEADERS.items():
        if header == known:
            return task
    return None


def refuse_header(path: str | os.PathLike, header: str, task: str, expected: str) -> None:
    """Raise the error about a file whose header is not that of a track.

    Args:
        path (str): The file.
        header (str): Its first line.
        task (str): Track that is read.
        expected (str): Headers of the track, for the message.

    Raises:
        ValueError: Always. The message names the track of the file if its header is known.
    """
    found = find_track(header)
    if found is None:
        advice = f'set ann_file to the {task.upper()} annotations, such as {FOLDERS[task]}'
    elif found == task:
        advice = 'set ann_file to a folder of annotations or to a list, as the setting asks'
    else:
        advice = (
            f'this file is of the {found.upper()} track: set task={found!r}, or ann_file to the '
            f'{task.upper()} annotations'
        )
    raise InvalidValueError(
        f'{path}, line 1: got the header {shorten_text(header)}, expected {expected}; {advice}'
    )
