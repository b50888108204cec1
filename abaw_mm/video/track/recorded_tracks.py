"""Replay the tracks of an earlier run."""

import os

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.video.faces import Faces
from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.video_frame import VideoFrame


class RecordedTracks:
    """Return the faces of an earlier run, with the methods of :class:`FaceTracker`.

    Args:
        tracks (FaceTracks): The tracks.
        video (str): Path of the video, for messages.
    """

    def __init__(self, tracks: FaceTracks, video: str | os.PathLike) -> None:
        self.tracks = tracks
        self.video = video
        self._done = 0  # frames
        self._order = np.lexsort([tracks.clip_id, tracks.frame_no])
        self._sorted = tracks.take(self._order)

    def update(self, frame: VideoFrame) -> tuple[np.ndarray, Faces]:
        """Return the persons of a frame, (K,), and their faces, in the order of their ids.

        Raises:
            InvalidValueError: If the tracks are those of other frames.
        """
        number, at, tracks = frame.index + 1, self._done, self.tracks
        if at == len(tracks.time) or (tracks.first_frame + at, tracks.time[at]) != (
            number,
            frame.time,
        ):
            expected = 'the end' if at == len(tracks.time) else self._describe(at)
            raise self._fail(f'frame {number} at {frame.time:.6f} s', expected)
        if tracks.size != (size := frame.image.shape[1::-1]):
            raise self._fail(f'{size[0]}x{size[1]} pixels', '{}x{}'.format(*tracks.size))
        self._done += 1
        first, last = np.searchsorted(self._sorted.frame_no, [number, number + 1])
        rows = slice(first, last)
        columns = (self._sorted[name][rows] for name in ('box', 'points', 'score'))
        return self._sorted.clip_id[rows], Faces(*columns)

    def check_end(self) -> None:
        """Check that the video had all frames of the tracks.

        Raises:
            InvalidValueError: If it ended before.
        """
        if self._done < len(self.tracks.time):
            raise self._fail('the end', self._describe(self._done))

    def _describe(self, at: int) -> str:
        return f'frame {self.tracks.first_frame + at} at {self.tracks.time[at]:.6f} s'

    def _fail(self, got: str, expected: str) -> InvalidValueError:
        return InvalidValueError(
            f'{self.video}: got {got}, expected {expected} as in its recorded tracks; give the '
            'video, --start and --end of the run that wrote the tracks, or delete the file of the '
            'tracks to find the faces again'
        )

    def finish(self, stem: str) -> tuple[FaceTracks, np.ndarray]:
        """Return the tracks, under their own names, as :meth:`FaceTracker.finish` does."""
        rows = np.empty(len(self._order), np.int64)
        rows[self._order] = np.arange(len(rows))
        return self.tracks, rows
