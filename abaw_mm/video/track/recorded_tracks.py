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
        path (str): Name of the file that they come from, for messages.
    """

    def __init__(self, tracks: FaceTracks, path: str | os.PathLike) -> None:
        self.tracks = tracks
        self.path = path
        self._order = np.lexsort([tracks.clip_id, tracks.frame_no])
        self._sorted = tracks.take(self._order)

    def update(self, frame: VideoFrame) -> tuple[np.ndarray, Faces]:
        """Return the persons of a frame, (K,), and their faces, in the order of their ids.

        Raises:
            InvalidValueError: If the tracks are those of other frames.
        """
        number = frame.index + 1
        at = number - self.tracks.first_frame
        if not 0 <= at < len(self.tracks.time) or self.tracks.time[at] != frame.time:
            raise InvalidValueError(
                f'{self.path}: got no frame {number} at {frame.time:.6f} s, expected the tracks of '
                'the same part of the same video; delete the file to find the faces again'
            )
        first, last = np.searchsorted(self._sorted.frame_no, [number, number + 1])
        rows = slice(first, last)
        columns = (self._sorted[name][rows] for name in ('box', 'points', 'score'))
        return self._sorted.clip_id[rows], Faces(*columns)

    def finish(self, stem: str) -> tuple[FaceTracks, np.ndarray]:
        """Return the tracks, under their own names, as :meth:`FaceTracker.finish` does."""
        rows = np.empty(len(self._order), np.int64)
        rows[self._order] = np.arange(len(rows))
        return self.tracks, rows
