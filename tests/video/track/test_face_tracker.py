"""Test identities against true persons: scripted detectors, composed scenes, real videos."""

import numpy as np
import pytest
from compose_video import Scene, compose, cross, cut, leave_and_return, load_real_faces, move, stay

from abaw_mm.errors import InvalidValueError
from abaw_mm.video.face_template import ARCFACE
from abaw_mm.video.faces import Faces
from abaw_mm.video.find.mtcnn import MTCNNFinder
from abaw_mm.video.track.face_tracker import FaceTracker
from abaw_mm.video.video_frame import VideoFrame

RATE = 30.0
SIZE = (640, 360)


class ScriptedFinder:
    """Know the boxes of every frame, and count what is asked.

    ``follow`` finds a face if its middle is within the box that is searched.
    """

    def __init__(self, boxes: list[list[tuple]]) -> None:
        self.boxes = boxes  # per frame
        self.frame = -1
        self.searches: list[int] = []

    def find(self, images):
        self.searches.append(self.frame)
        return [self.make(self.boxes[self.frame], 0.99)]

    def follow(self, image, boxes):
        faces = []
        for box in boxes:
            middle = (box[:2] + box[2:]) / 2
            near = [
                b
                for b in self.boxes[self.frame]
                if b[0] < middle[0] < b[2] and b[1] < middle[1] < b[3]
            ]
            faces.append((near[0], 0.95) if near else (tuple(box), 0.1))
        made = self.make([box for box, _ in faces], 0)
        return Faces(made.box, made.points, np.array([score for _, score in faces], np.float32))

    @staticmethod
    def make(boxes, score) -> Faces:
        box = np.array(boxes, np.float32).reshape(-1, 4)
        size = (box[:, 2:] - box[:, :2])[:, None]
        points = box[:, None, :2] + ARCFACE.points.astype(np.float32) / 112 * size
        return Faces(box, points, np.full(len(box), score, np.float32))


def paint(boxes, look: dict) -> np.ndarray:
    """Paint each box with its own pattern on grey."""
    image = np.full((360, 640, 3), 120, np.uint8)
    for box in boxes:
        left, top, right, bottom = map(int, box)
        pattern = np.random.default_rng(look[box]).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        rows = np.arange(bottom - top) * 4 // (bottom - top)
        columns = np.arange(right - left) * 4 // (right - left)
        image[top:bottom, left:right] = pattern[rows][:, columns]
    return image


def follow_script(persons: dict[int, list], frames: int, **options):
    """Track persons, given as pattern -> one box or None per frame."""
    boxes, images = [], []
    for t in range(frames):
        look = {boxes_of[t]: person for person, boxes_of in persons.items() if boxes_of[t]}
        boxes.append(list(look))
        images.append(paint(look, look))
    finder = ScriptedFinder(boxes)
    tracker = FaceTracker(finder, **options)
    updates = []
    for t, image in enumerate(images):
        finder.frame = t
        updates.append(tracker.update(VideoFrame(t, t / RATE, image)))
    return finder, updates, *tracker.finish('clip')


def box_at(x: float, y: float = 150, side: float = 80) -> tuple:
    return (x, y, x + side, y + side)


def test_searches_the_whole_picture_every_few_frames_only():
    finder, updates, tracks, _ = follow_script({1: [box_at(100 + 3 * t) for t in range(30)]}, 30)
    assert finder.searches == [0, 8, 16, 24]
    assert [ids.tolist() for ids, _ in updates] == [[0]] * 30
    np.testing.assert_allclose(tracks['box'][:, 0], 100 + 3 * np.arange(30))
    assert tracks.clips == ['clip'] and tracks.time[-1] == 29 / RATE


def test_searches_at_once_where_a_face_jumps():
    finder, _, tracks, _ = follow_script({1: [box_at(100)] * 5 + [box_at(170)] * 5}, 10)
    assert finder.searches == [0, 5]
    assert tracks.clips == ['clip'] and len(tracks) == 10


@pytest.mark.parametrize(('gap', 'persons'), [(5, 1), (20, 1), (45, 2)])
def test_identity_is_kept_over_gaps_of_less_than_a_second(gap, persons):
    path = [box_at(100)] * 10 + [None] * gap + [box_at(130)] * 20
    _, _, tracks, _ = follow_script({1: path}, len(path))
    assert len(tracks.clips) == persons


@pytest.mark.parametrize(('moved', 'persons'), [(100, 1), (300, 2)])
def test_lost_person_returns_nearby(moved, persons):
    path = [box_at(100)] * 10 + [None] * 15 + [box_at(100 + moved)] * 20
    _, _, tracks, _ = follow_script({1: path}, len(path))
    assert len(tracks.clips) == persons


def test_face_of_another_size_is_another_identity():
    path = [box_at(200)] * 15 + [box_at(150, 100, 190)] * 15
    _, _, tracks, _ = follow_script({1: path}, 30)
    assert tracks.count_by_clip().tolist() == [15, 15]


def test_fast_face_is_expected_where_it_moves():
    finder, _, tracks, _ = follow_script({1: [box_at(10 + 38 * t) for t in range(15)]}, 15)
    assert finder.searches == [0, 8] and len(tracks) == 15
    # From 38 to 57 pixels per frame: beyond half a face, were it expected where it was.
    path = np.cumsum([10, *np.linspace(20, 57, 12)])
    finder, _, tracks, _ = follow_script({1: [box_at(x) for x in path]}, 13)
    assert finder.searches == [0, 8] and len(tracks) == 13


def test_another_person_at_the_same_place_is_another_identity():
    frames = 30
    _, _, tracks, _ = follow_script(
        {1: [box_at(100)] * 15 + [None] * 15, 2: [None] * 15 + [box_at(100)] * 15}, frames
    )
    assert tracks.count_by_clip().tolist() == [15, 15]


def test_ids_are_in_order_of_appearance_and_false_alarms_leave_no_gap():
    frames = 30
    persons = {
        1: [box_at(20)] * 2 + [None] * 28,  # two frames: dropped
        2: [None] * 4 + [box_at(400)] * 26,
        3: [None] * 12 + [box_at(200)] * 18,
        4: [None] * 29 + [box_at(300)],
    }
    _, updates, tracks, rows = follow_script(persons, frames, detect_every=1)
    assert [ids.tolist() for ids, _ in updates][::7] == [[0], [1], [1, 2], [1, 2], [1, 2]]
    assert updates[-1][0].tolist() == [1, 2, 3]
    assert tracks.clips == ['clip_right', 'clip_left']
    assert tracks.count_by_clip().tolist() == [26, 18]
    ids = np.concatenate([ids for ids, _ in updates])
    boxes = np.concatenate([faces.box for _, faces in updates])
    assert ids[rows].tolist() == [1] * 26 + [2] * 18
    np.testing.assert_array_equal(boxes[rows], tracks['box'])


def test_single_picture_keeps_its_face():
    _, _, tracks, _ = follow_script({1: [box_at(100)]}, 1)
    assert len(tracks) == 1


def test_video_without_faces():
    _, updates, tracks, rows = follow_script({1: [None] * 10}, 10)
    assert len(tracks) == len(rows) == 0 and tracks.clips == [] and len(tracks.time) == 10
    assert updates[0][1].points.shape == (0, 5, 2)
    assert len(FaceTracker(ScriptedFinder([])).finish('clip')[0].time) == 0


def test_followed_face_that_no_search_confirms_is_dropped():
    boxes = [box_at(100)]
    finder, _, _, _ = follow_script({1: boxes * 60}, 60)
    finder.frame = 0
    tracker = FaceTracker(finder)
    image = paint(boxes, {boxes[0]: 1})
    tracker.update(VideoFrame(0, 0.0, image))
    finder.find = lambda images: [Faces.none()]
    seen = [len(tracker.update(VideoFrame(t, t / RATE, image))[1]) for t in range(1, 60)]
    assert seen[:20] == [1] * 20 and not any(seen[40:])


def test_frame_numbers_start_where_the_video_is_read():
    finder = ScriptedFinder([[box_at(100)]] * 3)
    tracker = FaceTracker(finder)
    for t in range(3):
        finder.frame = t
        tracker.update(VideoFrame(t + 50, 2.0 + t / RATE, paint([box_at(100)], {box_at(100): 1})))
    tracks, _ = tracker.finish('clip')
    assert tracks.first_frame == 51 and tracks.frame_no.tolist() == [51, 52, 53]
    np.testing.assert_allclose(tracks.face_time, 2.0 + np.arange(3) / RATE)


@pytest.mark.parametrize(
    'options', [dict(detect_every=0), dict(max_gap=0.0), dict(min_frames=0), dict(min_score=1.5)]
)
def test_wrong_arguments(options):
    with pytest.raises(InvalidValueError):
        FaceTracker(ScriptedFinder([]), **options)


@pytest.fixture(scope='module')
def finder() -> MTCNNFinder:
    pytest.importorskip('facenet_pytorch')
    return MTCNNFinder()


def track(finder, images, **options):
    tracker = FaceTracker(finder, **options)
    updates = [
        tracker.update(VideoFrame(index, index / RATE, image)) for index, image in enumerate(images)
    ]
    return updates, *tracker.finish('clip')


def find_persons(scene: Scene, tracks) -> list[set[int]]:
    """Return the true persons of each track, over the frames where nobody is covered."""
    persons = []
    for rows in tracks.rows_by_clip():
        owners = set()
        for frame, box in zip(tracks.frame_no[rows] - 1, tracks['box'][rows], strict=True):
            shown = scene.visible[frame] > 0
            if scene.visible[frame][shown].min() < 0.9:
                continue
            middle = (box[:2] + box[2:]) / 2
            true = scene.box[frame]
            inside = (true[:, :2] < middle).all(axis=1) & (middle < true[:, 2:]).all(axis=1)
            owners.add(int(np.flatnonzero(inside & shown)[0]))
        persons.append(owners)
    return persons


def check_persons(finder, scene: Scene, recall: float = 0.9) -> None:
    """Check that each of two persons has one track, which has most frames without a cover."""
    _, tracks, _ = track(finder, scene.images)
    assert sorted(find_persons(scene, tracks), key=min) == [{0}, {1}]
    assert len(tracks) >= recall * (scene.visible > 0.9).sum()


def test_people_who_cross_keep_their_identities(finder):
    faces = load_real_faces(6)
    check_persons(finder, compose([faces[2], faces[5]], cross(50, 640, 360, 130), SIZE))


@pytest.mark.slow
@pytest.mark.parametrize(('first', 'second'), [(5, 3), (2, 5), (3, 4), (3, 7), (4, 7), (7, 2)])
@pytest.mark.parametrize('frames', [40, 150])
def test_any_people_who_cross_keep_their_identities(finder, first, second, frames):
    faces = load_real_faces(8)
    paths = cross(frames, 640, 360, 130)
    check_persons(finder, compose([faces[first], faces[second]], paths, SIZE))


@pytest.mark.slow
@pytest.mark.parametrize(('first', 'second'), [(2, 5), (3, 7)])
def test_people_who_meet_and_turn_back_keep_their_identities(finder, first, second):
    faces = load_real_faces(8)
    there = [
        move(50, (120, 180, 130), (300, 180, 130)),
        move(50, (520, 180, 130), (340, 180, 130)),
    ]
    paths = [np.concatenate([path, path[::-1]]) for path in there]
    check_persons(finder, compose([faces[first], faces[second]], paths, SIZE))


@pytest.mark.slow
@pytest.mark.parametrize(('first', 'second'), [(2, 5), (3, 7)])
def test_person_who_leaves_and_returns_keeps_the_identity(finder, first, second):
    faces = load_real_faces(8)
    paths = [stay(80, 180, 180, 120), leave_and_return(stay(80, 450, 180, 120), 40, 62)]
    check_persons(finder, compose([faces[first], faces[second]], paths, SIZE))


@pytest.mark.parametrize('frames', [12, 22])  # as short as a flash, or a shot of its own
def test_cut_to_another_person_and_back(finder, frames):
    faces = load_real_faces(6)
    nobody = np.full((frames, 3), np.nan)
    here = stay(frames, 320, 180, 160)
    first = compose([faces[2], faces[5]], [here, nobody], SIZE, seed=5)
    second = compose([faces[2], faces[5]], [nobody, here], SIZE, seed=7)
    check_persons(finder, cut(first, second, first))


def test_face_that_is_half_out_of_the_picture_keeps_its_identity(finder):
    faces = load_real_faces(6)
    there = move(8, (500, 180, 150), (660, 180, 150))
    path = np.concatenate([there, there[::-1], stay(10, 500, 180, 150)])
    _, tracks, _ = track(finder, compose([faces[2]], [path], SIZE).images)
    assert tracks.clips == ['clip'] and len(tracks) == 20


def test_face_that_leaves_at_a_cut(finder, real_frames):
    updates, tracks, rows = track(finder, real_frames('face_noface.mov', range(64, 82)))
    assert tracks.clips == ['clip'] and tracks.frame_no.tolist() == list(range(1, 9))
    assert [len(faces) for _, faces in updates] == [1] * 8 + [0] * 10
    assert rows.tolist() == list(range(8)) and tracks.size == (960, 540)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('video', 'frames', 'with_face'),
    [
        ('WolfgangLanger_Pexels.mp4', 472, 472),
        ('single_face.mp4', 72, 72),
        ('face_noface.mov', 169, 72),
        ('no_face.mp4', 95, 0),
    ],
)
def test_real_video_has_one_person_in_the_right_frames(
    finder, real_frames, video, frames, with_face
):
    _, tracks, _ = track(finder, real_frames(video, range(frames)))
    assert len(tracks.time) == frames
    assert tracks.clips == ['clip'][: with_face > 0]
    assert tracks.frame_no.tolist() == list(range(1, with_face + 1))
