"""Write the challenge's submission file."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import HEADERS, LIST_HEADERS, read_frame_list
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.submission.fill_tracks import TrackFiller
from abaw_mm.evaluation.submission.gap_filler import GapFiller
from abaw_mm.evaluation.submission.row_values import format_rows
from abaw_mm.files import new_folder
from abaw_mm.structures.frame_table import FrameTable


@dataclass(eq=False)
class Submission(FrameTable):
    """Answers for the frames in the challenge's list, in the order of the list.

    Columns: those of the track, ``label`` (F,) int32, the class, ``va`` (F, 2) float32 or ``au``
    (F, 12) int32, 0 or 1; ``is_filled`` (F,) bool, True where there was no prediction.

    Attributes:
        filename_tmpl (str): File name of a frame in the list.
        task (str): Track of the list.
    """

    filename_tmpl: str = '{:05d}.jpg'
    task: str = 'expr'

    @classmethod
    def answer(
        cls,
        frames: str | os.PathLike,
        predictions: Predictions,
        filler: GapFiller | TrackFiller,
        filename_tmpl: str = '{:05d}.jpg',
    ) -> 'Submission':
        """Find the answer for each frame in a challenge's list.

        Args:
            frames (str): Path of the list, see :func:`read_frame_list`.
            predictions (Predictions): Predictions of the listed frames that have a crop.
            filler (GapFiller | TrackFiller): Filler for the other frames, see :func:`make_filler`.
            filename_tmpl (str): File name of a frame in the list.

        Raises:
            ValueError: If the list is not valid or of another track, or as the filler does.
        """
        task = predictions.task
        wanted = read_frame_list(frames, filename_tmpl, other_tmpl=filename_tmpl, task=task)
        table = filler.fill(predictions, wanted)
        return cls(table.clips, table.clip_id, table.frame_no, table.columns, filename_tmpl, task)

    def write_list(self, path: Path) -> None:
        """Write one file: the challenge's header, then ``<clip>/00001.jpg,<class>`` per frame.

        Other tracks have two floats, twelve bits, or all of them, after the frame. The header for
        expressions has nine names over two columns, like the challenge's own list. This is the
        format from the fifth edition on.
        """
        name = FilenameTemplate(self.filename_tmpl).name
        with open(path, 'w', encoding='utf-8', newline='\n') as file:
            file.write(LIST_HEADERS[self.task] + '\n')
            values = format_rows(self, self.task)
            columns = (self.clip_id.tolist(), self.frame_no.tolist(), values)
            file.writelines(
                f'{self.clips[clip]}/{name(number)},{value}\n'
                for clip, number, value in zip(*columns, strict=True)
            )

    def write_per_clip(self, folder: str | os.PathLike) -> None:
        """Write one file per clip: the annotations' header, then the values of one frame per line.

        The files are named ``<clip>.txt``. Line i after the header, counted from 0, belongs to
        frame i + 1, as in the annotations. This is the format of the first three editions.

        Raises:
            OSError: If the folder exists and is not empty.
            ValueError: If a clip lacks a frame between others, which would shift its lines, or the
                track has no such files.
        """
        if self.task not in HEADERS:
            raise InvalidValueError(
                f'--format per-clip: got predictions of the track {self.task!r}, expected one of '
                f'{", ".join(HEADERS)}; use --format list'
            )
        texts = {
            f'{clip}.txt': self._format_clip(clip, rows)
            for clip, rows in zip(self.clips, self.rows_by_clip(), strict=True)
        }
        with new_folder(folder) as draft:
            for name, text in texts.items():
                (draft / name).write_text(text, encoding='utf-8', newline='\n')

    def _format_clip(self, clip: str, rows: np.ndarray | slice) -> str:
        order = np.argsort(self.frame_no[rows])
        frame_no = self.frame_no[rows][order]
        odd = np.flatnonzero(frame_no != np.arange(1, len(frame_no) + 1))
        if len(odd) or '/' in clip:
            raise InvalidValueError(
                f'--format per-clip: got the frame {frame_no[odd[:1]].tolist()} of {clip!r} in the '
                'list, expected every frame from 1 to the last, one per line, and no slash in the '
                'name of the clip; use --format list'
            )
        values = format_rows(self.take(rows).take(order), self.task)
        return '\n'.join([HEADERS[self.task][0], *values, ''])
