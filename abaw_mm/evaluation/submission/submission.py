"""What a challenge is sent: one class for every frame that it asks for."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import (
    HEADER,
    LIST_HEADER,
    read_frame_list,
)
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.submission.gap_filler import (
    FilledFrames,
    GapFiller,
)


@dataclass
class Submission:
    """Classes of the frames of a challenge's list, in the list's order.

    Attributes:
        clips (list[str]): Names of the clips.
        clip_id (ndarray): (W, ) int32, row of ``clips``.
        frame_no (ndarray): (W, ) int32.
        label (ndarray): (W, ) int32, 0..7.
        filename_tmpl (str): File name of a frame in the list.
    """

    clips: list[str]
    clip_id: np.ndarray
    frame_no: np.ndarray
    label: np.ndarray
    filename_tmpl: str = '{:05d}.jpg'

    @classmethod
    def answer(
        cls,
        frames: str | os.PathLike,
        predictions: Predictions,
        filler: GapFiller,
        filename_tmpl: str = '{:05d}.jpg',
    ) -> tuple['Submission', FilledFrames]:
        """Answer a challenge's list of frames.

        Args:
            frames: The list, see :func:`read_frame_list`.
            predictions: Of the listed frames that have a crop.
            filler: For the others.
            filename_tmpl: File name of a frame in the list.

        Returns:
            tuple: The submission, and which of its frames were filled.

        Raises:
            ValueError: For a list that is none, and as :class:`GapFiller` and
                :meth:`Predictions.expect_classes` do.
        """
        asked = read_frame_list(frames, filename_tmpl)
        clips, clip_id, frame_no = asked.clips, asked.clip_id, asked.frame_no
        filled = filler.fill(predictions, clips, clip_id, frame_no)
        return cls(clips, clip_id, frame_no, filled.label, filename_tmpl), filled

    def __len__(self) -> int:
        return len(self.label)

    def write_list(self, path: Path) -> None:
        """Write one file: the challenge's header and ``<clip>/00001.jpg,<class>`` a frame.

        The header has nine names over two columns, as the challenge's own list has. So it is from
        the fifth edition on.
        """
        name = FilenameTemplate(self.filename_tmpl).name
        with open(path, 'w', encoding='utf-8', newline='\n') as file:
            file.write(LIST_HEADER + '\n')
            columns = (self.clip_id.tolist(), self.frame_no.tolist(), self.label.tolist())
            file.writelines(
                f'{self.clips[clip]}/{name(number)},{label}\n'
                for clip, number, label in zip(*columns, strict=True)
            )

    def write_per_clip(self, folder: Path) -> None:
        """Write a file a clip, ``<clip>.txt``: the annotations' header, then one class a line.

        Line i after the header, i from 0, is of frame i + 1, as in the annotations. So it is in the
        first three editions.

        Raises:
            FileExistsError: If the folder is there and not empty.
            ValueError: For a clip that lacks a frame in between, for whose line there is no class.
        """
        folder = Path(folder)
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise FileExistsError(
                f'--out: {folder} is there already, expected no such folder or an empty one; '
                'remove it or give another --out'
            )
        texts = {f'{clip}.txt': self._clip_text(i) for i, clip in enumerate(self.clips)}
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = folder.with_name(f'.{folder.name}.{os.getpid()}.part')
        try:
            draft.mkdir()
            for name, text in texts.items():
                (draft / name).write_text(text, encoding='utf-8', newline='\n')
            os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _clip_text(self, clip_id: int) -> str:
        rows = np.flatnonzero(self.clip_id == clip_id)
        rows = rows[np.argsort(self.frame_no[rows])]
        lines = np.arange(1, len(rows) + 1)
        odd = np.flatnonzero(self.frame_no[rows] != lines)
        clip = self.clips[clip_id]
        if len(odd) or '/' in clip:
            raise ValueError(
                f'--format per-clip: got the frame {self.frame_no[rows[odd[:1]]].tolist()} of '
                f'{clip!r} in the list, expected every frame from 1 to the last, a line each, of a '
                'clip without a slash in its name; use --format list'
            )
        return '\n'.join([HEADER, *map(str, self.label[rows].tolist()), ''])
