"""Name the persons of a video as Aff-Wild2 names its clips."""

from dataclasses import replace

import numpy as np

from abaw_mm.video.track.face_tracks import FaceTracks


def name_faces(tracks: FaceTracks, stem: str) -> FaceTracks:
    """Name one person after the video, two by the side, and further ones by a number.

    Args:
        tracks (FaceTracks): Tracks in order of appearance, under any names.
        stem (str): Name of the video, without suffix.

    Returns:
        FaceTracks: One person is ``<stem>``. Of several, the two with the most frames are
        ``<stem>_left`` and ``<stem>_right`` by their mean position, the others ``<stem>_3``,
        ``<stem>_4``, ... in order of appearance.
    """
    count = len(tracks.clips)
    if count < 2:
        return replace(tracks, clips=[stem] * count)
    middle = tracks['box'][:, [0, 2]].mean(axis=1)
    frames = tracks.count_by_clip()
    position = np.bincount(tracks.clip_id, middle, count) / np.maximum(frames, 1)
    pair = np.argsort(-frames, kind='stable')[:2]
    left, right = pair[np.argsort(position[pair], kind='stable')].tolist()
    names = {left: f'{stem}_left', right: f'{stem}_right'}
    for person in range(count):
        names.setdefault(person, f'{stem}_{len(names) + 1}')
    return replace(tracks, clips=[names[person] for person in range(count)])
