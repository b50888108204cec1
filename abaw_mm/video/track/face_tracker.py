"""Give the faces of a video their identities, frame by frame."""

from array import array

import numpy as np
from scipy.optimize import linear_sum_assignment

from abaw_mm.checks import above, at_least, between, check_arguments
from abaw_mm.video.faces import POINTS, Faces
from abaw_mm.video.find.face_finder import FaceFinder
from abaw_mm.video.find.overlap import compute_overlaps
from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.track.known_face import KnownFace, compute_look
from abaw_mm.video.track.name_faces import name_faces
from abaw_mm.video.track.shot_counter import ShotCounter
from abaw_mm.video.video_frame import VideoFrame

SAME_PLACE = 0.4  # intersection over union of two boxes of one face
MAX_DIFFERENCE = 0.8  # between looks of one person in one shot
MAX_DIFFERENCE_ACROSS = 0.5  # and across a cut, where nothing else is known
MAX_RATIO = 2.0  # between sizes of one face
DRIFT = 2.0  # sizes per second that a lost face may be away from where it is expected
NEVER = 1e6  # cost of a pair that cannot be
HEAD = 1.5  # sizes of a face, from the middle of one head to that of another beside it
RETRY = 3  # frames from one search to the next while a person is lost
MAX_MISSED = 4  # searches in a row that do not find a face which is followed
VALUES = 4 + 2 * len(POINTS) + 1  # numbers per face: box, points, score

Placed = dict[int, Faces]  # for each person that a frame shows, one face


class FaceTracker:
    """Follow the faces of a video.

    Known faces are searched near where they are expected, by the fast part of the detector. The
    whole picture is searched every ``detect_every`` frames, after a cut, and when a face is not
    where it was expected. Faces are the same person if they are near where that person was
    expected and look alike. A person who is not seen for longer than ``max_gap`` gets a new
    number. Across a cut, only faces that look very much alike are the same person.

    Args:
        finder (FaceFinder): The detector.
        detect_every (int): Frames from one search of the whole picture to the next. A new person
            is found with a delay of fewer frames. Defaults to 8.
        max_gap (float): Seconds after which a person who is not seen is forgotten. Defaults to 1.
        min_frames (int): Persons with fewer faces are dropped in the end, since they are mostly
            false alarms. Defaults to 3.
        min_score (float): Score below which a followed face counts as lost. Defaults to 0.6.

    Example:
        >>> tracker = FaceTracker(MTCNNFinder())                   # doctest: +SKIP
        >>> for frame in decode(path):                             # doctest: +SKIP
        ...     numbers, faces = tracker.update(frame)
        >>> tracks, rows = tracker.finish('interview')             # doctest: +SKIP
    """

    @check_arguments(
        '',
        detect_every=at_least(1),
        max_gap=above(0),
        min_frames=at_least(1),
        min_score=between(0, 1),
    )
    def __init__(
        self,
        finder: FaceFinder,
        detect_every: int = 8,
        max_gap: float = 1.0,
        min_frames: int = 3,
        min_score: float = 0.6,
    ) -> None:
        self.finder = finder
        self.detect_every = detect_every
        self.max_gap = max_gap
        self.min_frames = min_frames
        self.min_score = min_score
        self._shots = ShotCounter()
        self._shot = 0
        self._known: list[KnownFace] = []
        self._persons = 0
        self._until_search = 0  # frames
        self._size, self._first_frame = (0, 0), 1
        # One entry per frame, and one per face: 80 bytes, whatever the length of the video.
        self._times = array('d')
        self._numbers, self._frame_no, self._values = array('i'), array('i'), array('f')

    def update(self, frame: VideoFrame) -> tuple[np.ndarray, Faces]:
        """Find the faces of the next frame.

        Args:
            frame (VideoFrame): The frame, in order of presentation.

        Returns:
            tuple: (K,) int32 numbers of the persons, in order of appearance, and their K faces,
            sorted by number. :meth:`finish` drops persons and renumbers the others.
        """
        shot = self._shots.update(frame)
        is_cut, self._shot = shot != self._shot, shot
        before = self._times[-1] if self._times else frame.time
        self._known = [
            known
            for known in self._known
            if frame.time - known.alive <= self.max_gap and known.missed < MAX_MISSED
        ]
        seen_before = {known.number for known in self._known if known.time == before}
        placed = self._follow(frame)
        if is_cut or self._until_search <= 0 or seen_before - set(placed):
            self._search(frame, placed)
            self._until_search = self.detect_every
        lost = [known for known in self._known if known.number not in placed]
        for known in lost:
            if known.shot == shot and _is_beside(known.predict(frame.time), placed):
                known.alive = frame.time
        if lost:
            self._until_search = min(self._until_search, RETRY)
        self._until_search -= 1
        return self._record(frame, placed)

    def finish(self, stem: str) -> tuple[FaceTracks, np.ndarray]:
        """Return the tracks of the frames so far.

        Args:
            stem (str): Name of the video, from which those of the persons derive, see
                :func:`name_faces`.

        Returns:
            tuple: The tracks, sorted; and (F,) int64, for each row its position among all faces
            that :meth:`update` returned, which selects and sorts what was computed from them.
        """
        numbers = np.array(self._numbers, np.int32)
        frame_no = np.array(self._frame_no, np.int32)
        values = np.array(self._values, np.float32).reshape(-1, VALUES)
        shortest = min(self.min_frames, len(self._times))  # a single picture is a video, too
        counts = np.bincount(numbers, minlength=self._persons)
        persons = np.flatnonzero(counts >= max(shortest, 1))
        rows = np.flatnonzero(np.isin(numbers, persons))
        rows = rows[np.lexsort([frame_no[rows], numbers[rows]])]
        values = values[rows]
        tracks = FaceTracks(
            [str(person) for person in persons],
            np.searchsorted(persons, numbers[rows]).astype(np.int32),
            frame_no[rows],
            dict(
                box=values[:, :4],
                points=values[:, 4:-1].reshape(-1, len(POINTS), 2),
                score=values[:, -1],
            ),
            time=np.array(self._times, np.float64),
            first_frame=self._first_frame,
            size=self._size,
        )
        return name_faces(tracks, stem), rows

    def _follow(self, frame: VideoFrame) -> Placed:
        """Place the known faces of this shot near where they are expected."""
        placed: Placed = {}
        here = [known for known in self._known if known.shot == self._shot]
        if not here:
            return placed
        boxes = np.stack([known.predict(frame.time) for known in here])
        faces = self.finder.follow(frame.image, boxes)
        candidates = []
        for row in np.flatnonzero(faces.score >= self.min_score).tolist():
            look = compute_look(frame.image, faces.points[row])
            difference = here[row].compare(look)
            if difference <= MAX_DIFFERENCE and _is_alike_in_size(boxes[row], faces.box[row]):
                candidates.append((difference, row, look))
        # Where two persons cross, both searches find the one in front, who keeps the face.
        for _, row, look in sorted(candidates, key=lambda candidate: candidate[:2]):
            if not _find_owners(faces.box[row], placed):
                here[row].see(faces.box[row], look, frame.time, self._shot)
                placed[here[row].number] = faces.take(slice(row, row + 1))
        return placed

    def _search(self, frame: VideoFrame, placed: Placed) -> None:
        """Find faces in the whole picture, and place those that have no person yet."""
        faces = self.finder.find([frame.image])[0]
        faces = faces.take(np.argsort(faces.box[:, 0], kind='stable'))  # new persons from the left
        owners = [_find_owners(box, placed) for box in faces.box]
        for known in self._known:
            if known.number in placed:
                known.missed = (
                    0 if any(known.number in owner for owner in owners) else known.missed + 1
                )
        faces = faces.take(np.array([not owner for owner in owners], bool))
        looks = [compute_look(frame.image, points) for points in faces.points]
        lost = [known for known in self._known if known.number not in placed]
        cost = np.full((len(lost), len(faces)), NEVER)
        for i, known in enumerate(lost):
            for j, look in enumerate(looks):
                cost[i, j] = self._compute_cost(known, faces.box[j], look, frame.time)
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        matches = {j: lost[i] for i, j in pairs if cost[i, j] < NEVER}
        for j, (box, look) in enumerate(zip(faces.box, looks, strict=True)):
            if j in matches:
                known = matches[j]
                known.see(box, look, frame.time, self._shot)
            elif self._is_covered(box, lost, placed, frame.time):
                continue
            else:
                known = KnownFace(self._persons, box, look, frame.time, self._shot)
                self._known.append(known)
                self._persons += 1
            known.missed = 0
            placed[known.number] = faces.take(slice(j, j + 1))

    def _compute_cost(
        self, known: KnownFace, box: np.ndarray, look: np.ndarray, time: float
    ) -> float:
        """Compute how little a face looks like that of a person, and how far away it is."""
        difference = known.compare(look)
        if known.shot != self._shot:
            return difference if difference <= MAX_DIFFERENCE_ACROSS else NEVER
        if difference > MAX_DIFFERENCE or not self._is_near(known, box, time):
            return NEVER
        return difference + known.compute_distance(box, time)

    def _is_near(self, known: KnownFace, box: np.ndarray, time: float) -> bool:
        """Return whether a person can have moved to a box."""
        reach = 1 + DRIFT * min(time - known.time, 1)
        return known.compute_distance(box, time) <= reach and _is_alike_in_size(known.box, box)

    def _is_covered(
        self, box: np.ndarray, lost: list[KnownFace], placed: Placed, time: float
    ) -> bool:
        """Return whether a face is probably a lost person of whom another one covers a part."""
        is_known = any(k.shot == self._shot and self._is_near(k, box, time) for k in lost)
        return is_known and _is_beside(box, placed)

    def _record(self, frame: VideoFrame, placed: Placed) -> tuple[np.ndarray, Faces]:
        """Keep the faces of a frame, and return them sorted by person."""
        if not self._times:
            self._first_frame = frame.index + 1
        self._times.append(frame.time)
        self._size = (frame.image.shape[1], frame.image.shape[0])
        numbers = sorted(placed)
        for number in numbers:
            face = placed[number]
            self._numbers.append(number)
            self._frame_no.append(frame.index + 1)
            for column in (face.box, face.points, face.score):
                self._values.extend(column.ravel().tolist())
        parts = [placed[number] for number in numbers] or [Faces.none()]
        faces = Faces(
            np.concatenate([part.box for part in parts]),
            np.concatenate([part.points for part in parts]),
            np.concatenate([part.score for part in parts]),
        )
        return np.array(numbers, np.int32), faces


def _find_owners(box: np.ndarray, placed: Placed) -> list[int]:
    """Return the persons whose face is at a box already."""
    return [
        number
        for number, face in placed.items()
        if compute_overlaps(box[None], face.box)[0, 0] > SAME_PLACE
    ]


def _is_beside(box: np.ndarray, placed: Placed) -> bool:
    """Return whether a face is so near another one that the heads may overlap."""
    for face in placed.values():
        apart = np.linalg.norm((box[:2] + box[2:] - face.box[0, :2] - face.box[0, 2:]) / 2)
        if apart < HEAD * np.sqrt((face.box[0, 2:] - face.box[0, :2]).prod()):
            return True
    return False


def _is_alike_in_size(a: np.ndarray, b: np.ndarray) -> bool:
    ratio = np.sqrt((a[2:] - a[:2]).prod() / (b[2:] - b[:2]).prod())
    return 1 / MAX_RATIO <= ratio <= MAX_RATIO
