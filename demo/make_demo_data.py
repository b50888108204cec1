"""Draw a stand-in for Aff-Wild2: faces made of shapes, in the official layout.

    python demo/make_demo_data.py data/demo

The database needs a signed agreement; these clips need nothing and show that everything runs. A
face moves by a vector of facial actions (after Ekman's and Friesen's FACS), as video does: slowly,
from one expression to the next, while head, light and speech go their own way. Every clip has a
face of its own and shows several expressions, so that neither the clip, its colours nor the frame
number tell the class (``benchmarks/demo_data_cues.py`` measures it). No score on it says anything
about Aff-Wild2. The same seed and the same Pillow and NumPy give the same bytes, whatever
``--workers`` is.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

EXPRESSIONS = (
    'Neutral',
    'Anger',
    'Disgust',
    'Fear',
    'Happiness',
    'Sadness',
    'Surprise',
    'Other',
)  # order of the official annotation files
HEADER = ','.join(EXPRESSIONS)
FREQUENCY = (
    0.28,
    0.05,
    0.045,
    0.045,
    0.18,
    0.13,
    0.07,
    0.20,
)  # of segments; rare ones rare, as there
ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
NAMES = (  # the forms of names in the database, and one with spaces
    'demo clip {}',
    'video{}_5_left',
    '{}-24-1920x1080',
    '{}',
    'video{}_right',
    'video{}',
    '{}-30-1280x720-2',
)
WHAT = 'abaw_mm demo data: drawn faces, no person and no frame of Aff-Wild2'
VERSION = 1  # raise it when other bytes are drawn, so that older folders are not taken for it
SEGMENTS_PER_CLIP = 6
MIN_CLIPS_PER_CLASS = 4  # F1 of a class that one or two faces show would be chance
SUPERSAMPLING = 3

# ------------------------------------------------------------------ what a face can do

ACTIONS = (
    'inner_brow',
    'outer_brow',
    'brow_lower',
    'brow_skew',
    'lid_open',
    'cheek_raise',
    'nose_wrinkle',
    'upper_lip',
    'lip_pull',
    'lip_skew',
    'lip_depress',
    'lip_stretch',
    'lip_press',
    'lip_pucker',
    'jaw_drop',
    'gaze_x',
    'gaze_y',
)  # 0 at rest, 1 at full strength; brow_skew, lip_skew and gaze have a sign, lid_open -1 is shut
POSES: dict[str, tuple[dict[str, float], ...]] = {  # each expression has some ways to be shown
    'Neutral': ({},),
    'Anger': (
        dict(brow_lower=1, lid_open=0.1, lip_press=1, lip_depress=0.35),
        dict(brow_lower=1, lid_open=0.3, jaw_drop=0.35, upper_lip=0.35, lip_depress=0.4),
    ),
    'Disgust': (
        dict(nose_wrinkle=1, upper_lip=1, brow_lower=0.5, lid_open=-0.35, cheek_raise=0.5),
        dict(nose_wrinkle=1, upper_lip=0.8, brow_lower=0.4, lid_open=-0.4, lip_depress=0.5),
    ),
    'Fear': (
        dict(inner_brow=1, outer_brow=0.35, lid_open=0.9, lip_stretch=1, jaw_drop=0.3),
        dict(
            inner_brow=0.9,
            outer_brow=0.2,
            lid_open=1,
            lip_stretch=1,
            lip_depress=0.3,
            jaw_drop=0.15,
        ),
    ),
    'Happiness': (
        dict(lip_pull=1, cheek_raise=0.8, jaw_drop=0.3, lid_open=-0.1),
        dict(lip_pull=1, cheek_raise=0.7, lid_open=-0.15),
    ),
    'Sadness': (
        dict(inner_brow=0.9, lip_depress=1, lid_open=-0.4, gaze_y=0.6),
        dict(inner_brow=1, lip_depress=0.9, lid_open=-0.3, lip_press=0.4, cheek_raise=0.3),
    ),
    'Surprise': (
        dict(inner_brow=1, outer_brow=1, lid_open=0.9, jaw_drop=1),
        dict(inner_brow=1, outer_brow=1, lid_open=0.8, jaw_drop=0.6, lip_pucker=0.4),
    ),
    'Other': (
        dict(lip_skew=1.2, lid_open=-0.1),
        dict(lip_skew=-1.2, brow_skew=0.6),
        dict(lip_pucker=1),
        dict(lid_open=-1, jaw_drop=0.15),
        dict(brow_skew=-1.2, lip_press=0.4, gaze_x=0.8),
    ),
}


def actions(**strength: float) -> np.ndarray:
    """Vector over ``ACTIONS`` from the few that are not at rest."""
    unknown = set(strength) - set(ACTIONS)
    if unknown:
        raise ValueError(f'got the actions {sorted(unknown)}, expected some of {ACTIONS}')
    return np.array([strength.get(name, 0.0) for name in ACTIONS])


# ------------------------------------------------------------------ who, from where, in what light

Colour = tuple[float, float, float]
SKINS = (
    (250, 220, 200),
    (236, 196, 166),
    (214, 166, 130),
    (178, 126, 92),
    (132, 90, 64),
    (92, 62, 48),
)
HAIRS = ((28, 24, 22), (64, 42, 28), (112, 74, 42), (188, 148, 88), (150, 68, 36), (150, 146, 142))
IRISES = ((70, 44, 26), (96, 66, 32), (70, 104, 130), (84, 116, 84))


@dataclass(frozen=True)
class Identity:
    """What stays the same in a clip. Lengths in half widths of a head, y down from its centre."""

    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour
    cloth: Colour
    head_width: float
    head_height: float
    jaw: float  # how much the chin is narrower than the temples, 0-1
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    brow_gap: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip_thickness: float
    hairline: float
    hair_style: str
    beard: str
    glasses: bool
    rest: np.ndarray  # (A, ) actions of the face at rest: some look stern, some friendly

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Identity':
        """A face by chance."""
        skin = _pick(rng, SKINS, 12)
        rest = {name: rng.normal(0, 0.1) for name in ('inner_brow', 'outer_brow', 'lid_open')}
        rest |= {
            name: abs(rng.normal(0, 0.12))
            for name in ('brow_lower', 'lip_pull', 'lip_press', 'lip_depress')
        }
        return cls(
            skin=skin,
            hair=_pick(rng, HAIRS, 12),
            iris=_pick(rng, IRISES, 10),
            lips=mix(skin, (176, 62, 70), rng.uniform(0.25, 0.65)),
            cloth=tuple(rng.uniform(20, 230, 3)),
            head_width=rng.uniform(0.92, 1.06),
            head_height=rng.uniform(1.2, 1.36),
            jaw=rng.uniform(0.1, 0.38),
            eye_x=rng.uniform(0.38, 0.46),
            eye_y=rng.uniform(-0.16, -0.06),
            eye_width=rng.uniform(0.17, 0.22),
            eye_height=rng.uniform(0.085, 0.11),
            brow_gap=rng.uniform(0.23, 0.3),
            brow_thickness=rng.uniform(0.055, 0.095),
            nose_length=rng.uniform(0.36, 0.46),
            nose_width=rng.uniform(0.11, 0.18),
            mouth_y=rng.uniform(0.6, 0.7),
            mouth_width=rng.uniform(0.32, 0.41),
            lip_thickness=rng.uniform(0.05, 0.09),
            hairline=rng.uniform(-0.98, -0.8),
            hair_style=str(rng.choice(['short', 'long', 'fringe', 'bald'], p=[0.4, 0.3, 0.2, 0.1])),
            beard=str(
                rng.choice(['none', 'stubble', 'moustache', 'full'], p=[0.7, 0.12, 0.08, 0.1])
            ),
            glasses=bool(rng.random() < 0.25),
            rest=actions(**rest),
        )


@dataclass(frozen=True)
class View:
    """Camera and light of one frame. Angles in radians, lengths in half widths of a head."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift_x: float
    shift_y: float
    light_angle: float
    light_slope: float  # brightness gained or lost towards the edge, 0-1
    gain: float
    cast: Colour  # factors of red, green and blue
    noise: float  # standard deviation in grey values
    blur: float  # radius in pixels of a 112x112 frame
    quality: int  # of the JPEG


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """Colour between ``a`` (share 0) and ``b`` (share 1)."""
    return tuple((1 - share) * x + share * y for x, y in zip(a, b, strict=True))


def dim(colour: Sequence[float], factor: float) -> Colour:
    """The colour, darker."""
    return tuple(factor * x for x in colour)


def _pick(rng: np.random.Generator, palette: Sequence[Colour], spread: float) -> Colour:
    at = rng.uniform(0, len(palette) - 1)
    colour = mix(palette[int(at)], palette[int(at) + 1], at % 1)
    return tuple(np.clip(np.array(colour) + rng.normal(0, spread / 2, 3), 10, 250))


# ------------------------------------------------------------------ parameters to picture


def curve(start: Sequence[float], middle: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """(12, 2) points of the parabola through three points."""
    start, middle, end = (np.asarray(point, float) for point in (start, middle, end))
    t = np.linspace(0, 1, 12)[:, None]
    return (1 - t) * (1 - 2 * t) * start + 4 * t * (1 - t) * middle + t * (2 * t - 1) * end


class Canvas:
    """Draws shapes given in face coordinates, as the view turns and moves the head."""

    def __init__(self, image: Image.Image, view: View) -> None:
        self.image = image
        self.view = view
        self.unit = 0.42 * image.width * view.scale  # pixels in half a head's width
        self.pen = ImageDraw.Draw(image)

    def project(self, points: np.ndarray, flat: bool = False) -> list[tuple[float, float]]:
        """Face coordinates to pixels: on a bulging face turning moves the nose most."""
        x, y = np.asarray(points, float).T
        if not flat:
            z = 0.75 * np.sqrt(np.clip(1 - (x / 1.1) ** 2 - (y / 1.5) ** 2, 0.05, 1))
            x = x * np.cos(self.view.yaw) + z * np.sin(self.view.yaw)
            y = y * np.cos(self.view.pitch) + z * np.sin(self.view.pitch)
        x, y = x + self.view.shift_x, y + self.view.shift_y
        cos, sin = np.cos(self.view.roll), np.sin(self.view.roll)
        centre_x, centre_y = 0.5 * self.image.width, 0.5 * self.image.height
        return list(
            zip(
                (centre_x + self.unit * (x * cos - y * sin)).tolist(),
                (centre_y + self.unit * (x * sin + y * cos)).tolist(),
                strict=True,
            )
        )

    def shape(self, points: np.ndarray, colour: Colour, flat: bool = False) -> None:
        self.pen.polygon(self.project(points, flat), fill=_bytes(colour))

    def line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        pixels = max(1, round(self.unit * width))
        self.pen.line(self.project(points), fill=_bytes(colour), width=pixels, joint='curve')

    def oval(
        self, x: float, y: float, width: float, height: float, colour: Colour, flat: bool = False
    ) -> None:
        angle = np.linspace(0, 2 * np.pi, 28)
        points = np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], 1)
        self.shape(points, colour, flat)

    @contextmanager
    def inside(self, outline: np.ndarray) -> Iterator[None]:
        """What is drawn meanwhile shows only within the outline."""
        before = self.image.copy()
        yield
        mask = Image.new('L', self.image.size, 255)
        ImageDraw.Draw(mask).polygon(self.project(outline), fill=0)
        self.image.paste(before, mask=mask)


def _bytes(colour: Colour) -> tuple[int, ...]:
    return tuple(int(np.clip(value, 0, 255)) for value in colour)


def draw_face(
    identity: Identity, action: np.ndarray, view: View, background: Image.Image
) -> Image.Image:
    """The picture of one frame, before light and camera noise.

    Args:
        identity: Whose face.
        action: (A, ) strengths, in the order of ``ACTIONS``.
        view: Where the head is and turns to.
        background: What is behind it; its size is the picture's.
    """
    canvas = Canvas(background.copy(), view)
    act = dict(zip(ACTIONS, action.tolist(), strict=True))
    for name in ACTIONS:  # a muscle does not push; the signed ones aside
        if name not in ('brow_skew', 'lid_open', 'lip_skew', 'gaze_x', 'gaze_y'):
            act[name] = max(0.0, act[name])
    _draw_head(canvas, identity, act)
    _draw_nose(canvas, identity, act)
    _draw_mouth(canvas, identity, act)
    for side in (-1, 1):
        _draw_eye(canvas, identity, act, side)
        _draw_brow(canvas, identity, act, side)
    _draw_forehead(canvas, identity, act)
    return canvas.image


def _draw_head(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    angle = np.linspace(0, 2 * np.pi, 60)
    across, down = np.cos(angle), np.sin(angle)
    height = np.where(down > 0, face.head_height + 0.1 * act['jaw_drop'], face.head_height)
    width = face.head_width * (1 - face.jaw * np.clip(down, 0, 1) ** 2)
    head = np.stack([width * across, height * down], 1)
    if face.hair_style == 'long':
        sides = np.array([[-1.25, -0.5], [1.25, -0.5], [1.3, 2.2], [-1.3, 2.2]])
        canvas.shape(sides, face.hair, True)
    if face.hair_style != 'bald':
        canvas.oval(0, -0.3, 1.12 * face.head_width + 0.1, face.head_height - 0.1, face.hair, True)
    canvas.shape(
        np.array([[-0.5, 0.6], [0.5, 0.6], [0.55, 2.2], [-0.55, 2.2]]), dim(face.skin, 0.8), True
    )
    canvas.shape(
        np.array([[-0.5, 1.35], [0.5, 1.35], [2.2, 1.7], [2.2, 3], [-2.2, 3], [-2.2, 1.7]]),
        face.cloth,
        True,
    )
    for side in (-1, 1):
        canvas.oval(side * face.head_width, 0.05, 0.13, 0.24, dim(face.skin, 0.85), True)
    canvas.shape(head, face.skin, True)
    if face.beard in ('stubble', 'full'):
        colour = mix(face.skin, face.hair, 0.3 if face.beard == 'stubble' else 0.85)
        lower = head[(down > 0.15)] * (0.995, 1)
        canvas.shape(np.vstack([lower, [[-0.6, 0.55], [0, 0.42], [0.6, 0.55]]]), colour, True)
    if face.hair_style != 'bald':
        line = face.hairline + (0.14 if face.hair_style == 'fringe' else 0)
        bow = line if face.hair_style == 'fringe' else line - 0.16
        top = head[down < -0.45]
        canvas.shape(
            np.vstack(
                [top * 1.03, curve((face.head_width, -0.45), (0.3, bow), (-face.head_width, -0.45))]
            ),
            face.hair,
            True,
        )


def _draw_nose(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    tip = face.eye_y + face.nose_length - 0.05 * act['nose_wrinkle']
    wing = face.nose_width * (1 + 0.25 * act['nose_wrinkle'])
    dark = dim(face.skin, 0.72)
    canvas.line(
        curve((-0.05, face.eye_y), (-0.1, tip - 0.16), (-0.75 * wing, tip - 0.03)), dark, 0.02
    )
    canvas.line(curve((-wing, tip - 0.02), (0, tip + 0.09), (wing, tip - 0.02)), dark, 0.03)
    for side in (-1, 1):
        canvas.oval(side * 0.55 * wing, tip + 0.015, 0.035, 0.022, dim(face.skin, 0.4))
        if act['nose_wrinkle'] > 0.1:
            crease = mix(face.skin, dim(face.skin, 0.45), min(1, act['nose_wrinkle']))
            for row in range(3):
                y = face.eye_y + 0.02 + 0.075 * row
                canvas.line([(side * 0.03, y + 0.03), (side * 0.15, y - 0.03)], crease, 0.025)
        skew = max(0.0, side * act['lip_skew'])
        fold = max(0.15, act['lip_pull'], act['nose_wrinkle'], act['upper_lip'], skew)
        corner = face.mouth_y - 0.08 * max(act['lip_pull'], act['nose_wrinkle']) - 0.18 * skew
        end = face.mouth_width * (1 + 0.3 * max(skew, act['lip_pull'])) + 0.08  # outside the lips
        canvas.line(
            curve(
                (side * (wing + 0.04), tip - 0.04),
                (side * (wing + 0.15), tip + 0.08),
                (side * end, corner),
            ),
            mix(face.skin, dim(face.skin, 0.55), min(1, 0.9 * fold)),
            0.025,
        )


def _draw_mouth(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    thickness = face.lip_thickness * (1 - 0.75 * min(1, act['lip_press']))
    thickness *= 1 + 0.55 * act['lip_pucker']
    half = face.mouth_width * (
        1
        + 0.25 * act['lip_pull']
        + 0.3 * act['lip_stretch']
        - 0.25 * act['jaw_drop']
        - 0.5 * min(1, act['lip_pucker'])
    )
    corners = []
    for side in (-1, 1):
        skew = max(0.0, side * act['lip_skew'])
        y = face.mouth_y - 0.15 * act['lip_pull'] + 0.14 * act['lip_depress'] - 0.16 * skew
        y += 0.03 * act['lip_stretch'] + 0.1 * act['jaw_drop']
        corners.append((side * half * (1 + 0.25 * skew), y))
    left, right = corners
    middle = 0.1 * (left[0] + right[0])
    top = (
        face.mouth_y + 0.05 * act['lip_pull'] - 0.11 * act['upper_lip'] - 0.05 * act['lip_depress']
    )
    gap = 0.5 * act['jaw_drop'] + 0.15 * act['upper_lip'] + 0.12 * act['lip_stretch']
    bottom = top + gap * (1 - 0.8 * min(1, act['lip_press']))
    upper = curve(left, (middle, top - thickness), right)
    lower = curve(right, (middle, bottom + 1.4 * thickness), left)
    if face.beard in ('moustache', 'full'):
        canvas.shape(np.vstack([upper - (0, 0.1), upper[::-1]]), face.hair)
    canvas.shape(np.vstack([upper, lower]), face.lips)
    inner = np.vstack([curve(left, (middle, top), right), curve(right, (middle, bottom), left)])
    if bottom - top > 0.03:
        with canvas.inside(inner):
            canvas.shape(inner, (46, 14, 18))
            canvas.oval(middle, bottom + 0.02, 0.7 * half, 0.1, (170, 74, 80))
            canvas.shape(
                np.vstack(
                    [
                        curve(left, (middle, top - 0.1), right),
                        curve(right, (middle, top + min(0.1, 0.6 * gap)), left),
                    ]
                ),
                (236, 230, 218),
            )
    canvas.line(inner[:12], dim(face.lips, 0.45), 0.025)
    canvas.line(
        curve(
            (-0.12, bottom + 2.4 * thickness + 0.05),
            (0, bottom + 2.1 * thickness + 0.03),
            (0.12, bottom + 2.4 * thickness + 0.05),
        ),
        dim(face.skin, 0.82),
        0.02,
    )


def _draw_eye(canvas: Canvas, face: Identity, act: dict[str, float], side: int) -> None:
    x, y, height = side * face.eye_x, face.eye_y, face.eye_height
    opening = float(np.clip(1 + (0.65 if act['lid_open'] > 0 else 1) * act['lid_open'], 0.02, 1.8))
    squeeze = min(1.0, 0.7 * act['cheek_raise'] + 0.5 * act['nose_wrinkle'])
    inner, outer = (x - side * face.eye_width, y + 0.02), (x + side * face.eye_width, y - 0.01)
    upper = curve(inner, (x, y + height * (0.55 - 1.6 * opening * (1 - 0.15 * squeeze))), outer)
    lower = curve(
        outer,
        (x, y + height * (0.55 + 0.3 * min(opening, 1) - 0.6 * squeeze * min(opening, 1))),
        inner,
    )
    lid = np.vstack([upper - (0, 0.45 * height), upper[::-1]])
    canvas.shape(lid, dim(face.skin, 0.82))
    outline = np.vstack([upper, lower])
    with canvas.inside(outline):
        canvas.shape(outline, (240, 238, 234))
        gaze = (x + 0.06 * act['gaze_x'], y + height * (-0.2 + 0.5 * act['gaze_y']))
        canvas.oval(*gaze, height, height, face.iris)
        canvas.oval(*gaze, 0.5 * height, 0.5 * height, (12, 10, 10))
        canvas.oval(gaze[0] - 0.03, gaze[1] - 0.035, 0.018, 0.018, (250, 250, 250))
    canvas.line(upper, dim(face.skin, 0.25), 0.03)
    canvas.line(lower, dim(face.skin, 0.6), 0.014)
    bag = mix(face.skin, dim(face.skin, 0.5), min(1.0, 0.15 + 0.7 * squeeze))
    canvas.line(lower + (0, 0.7 * height), bag, 0.02)
    if squeeze > 0.2:  # crow's feet
        for row in (-1, 0, 1):
            canvas.line(
                [
                    (outer[0] + side * 0.04, y + 0.04 * row),
                    (outer[0] + side * 0.13, y + 0.07 * row),
                ],
                bag,
                0.018,
            )
    if face.glasses:
        angle = np.linspace(0, 2 * np.pi, 28)
        rim = np.stack([x + 0.27 * np.cos(angle), y + 0.02 + 0.21 * np.sin(angle)], 1)
        canvas.line(rim, (34, 30, 34), 0.03)
        canvas.line([(x - side * 0.27, y), (0, y - 0.02)], (34, 30, 34), 0.03)


def _draw_brow(canvas: Canvas, face: Identity, act: dict[str, float], side: int) -> None:
    y = face.eye_y - face.brow_gap
    skew = max(0.0, side * act['brow_skew'])
    inner_y = y - 0.17 * act['inner_brow'] + 0.15 * act['brow_lower'] - 0.1 * skew
    outer_y = y + 0.03 - 0.16 * act['outer_brow'] - 0.03 * act['brow_lower'] - 0.14 * skew
    inner_y += 0.05 * act['nose_wrinkle']
    inner_x = face.eye_x - face.eye_width * (
        0.95 + 0.3 * act['brow_lower'] + 0.1 * act['inner_brow']
    )
    outer_x = face.eye_x + 1.35 * face.eye_width
    middle_y = 0.5 * (inner_y + outer_y) - 0.05 + 0.035 * act['brow_lower'] - 0.05 * skew
    start, end = np.array([side * inner_x, inner_y]), np.array([side * outer_x, outer_y])
    middle = np.array([side * (0.4 * inner_x + 0.6 * outer_x), middle_y])
    thick = np.array([0, face.brow_thickness])
    canvas.shape(
        np.vstack(
            [
                curve(start - 0.5 * thick, middle - 0.6 * thick, end),
                curve(end, middle + 0.4 * thick, start + 0.5 * thick),
            ]
        ),
        mix(dim(face.hair, 0.75), face.skin, 0.1),
    )


def _draw_forehead(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    y = face.eye_y - face.brow_gap
    lift = 0.5 * (act['inner_brow'] + act['outer_brow'])
    if lift > 0.25:
        crease = mix(face.skin, dim(face.skin, 0.6), min(1.0, lift))
        for row in (0, 1):
            half = 0.2 + 0.25 * min(1.0, act['outer_brow'])
            line = curve(
                (-half, y - 0.21 - 0.09 * row),
                (0, y - 0.24 - 0.09 * row),
                (half, y - 0.21 - 0.09 * row),
            )
            canvas.line(line, crease, 0.02)
    if act['brow_lower'] > 0.15:
        crease = mix(face.skin, dim(face.skin, 0.45), min(1.0, act['brow_lower']))
        for side in (-1, 1):
            canvas.line([(side * 0.06, y - 0.02), (side * 0.045, y + 0.17)], crease, 0.025)


def photograph(
    picture: Image.Image, view: View, size: int, rng: np.random.Generator
) -> Image.Image:
    """Light, lens and sensor: the drawn picture as a frame of size x size pixels."""
    picture = picture.resize((size, size), Image.Resampling.BOX)
    picture = picture.filter(ImageFilter.GaussianBlur(view.blur * size / 112))
    at = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = at[None, :] - 0.4 * view.shift_x, at[:, None] - 0.4 * view.shift_y
    light = 1 + view.light_slope * (x * np.cos(view.light_angle) + y * np.sin(view.light_angle))
    light = view.gain * light * (1.08 - 0.25 * (x**2 + 0.6 * y**2))  # a head is round
    pixels = np.asarray(picture, np.float32) * light[..., None] * np.float32(view.cast)
    pixels += rng.standard_normal((size, size, 1), np.float32) * np.float32(view.noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# ------------------------------------------------------------------ from frame to frame


@dataclass(frozen=True)
class Clip:
    """What one worker needs to draw one clip."""

    name: str
    split: str  # 'train', 'val' or 'test'
    index: int  # over all splits; with the seed it decides everything by chance
    segments: tuple[int, ...]  # the expressions shown, in order


def drift(rng: np.random.Generator, length: int, pace: float) -> np.ndarray:
    """(length, ) smooth noise of variance about 1 that forgets itself in ``pace`` frames."""
    reach = int(3 * pace)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / pace) ** 2)
    noise = rng.standard_normal(length + 2 * reach)
    return np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), mode='valid')


def perform(
    clip: Clip, identity: Identity, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What the face does in a clip.

    Returns:
        tuple[ndarray, ndarray]: (F, A) actions and (F, ) labels. -1 where one expression passes
        into the next, and in a few runs that nobody looked at.
    """
    count = len(clip.segments)
    length = rng.uniform(0.7, 1.3, count)
    starts = np.concatenate([[0], np.cumsum(length)]) / length.sum() * frames
    ramp = np.minimum(rng.uniform(5, 9, count + 1), 0.6 * np.diff(starts).min())
    time = np.arange(frames)[:, None]
    phase = np.clip((time - starts) / ramp + 0.5, 0, 1)
    stage = phase**2 * (3 - 2 * phase)
    stage[:, 0], stage[:, -1] = 1, 0  # a clip may begin and end in the middle of an expression
    share = stage[:, :-1] - stage[:, 1:]  # (F, S), sums to 1

    strength = rng.uniform(0.5, 1, count) * (1 + 0.1 * drift(rng, frames, 6))[:, None]  # (F, S)
    ways = [POSES[EXPRESSIONS[segment]] for segment in clip.segments]
    shown = np.array([actions(**way[rng.integers(len(way))]) for way in ways])
    shown *= rng.uniform(0.85, 1.15, shown.shape)
    action = identity.rest + (share * strength) @ shown
    action += 0.04 * np.stack([drift(rng, frames, 5) for _ in ACTIONS], 1)

    speech = np.clip(drift(rng, frames, 25), 0, 1) * np.clip(drift(rng, frames, 1.2), 0, 2)
    action[:, ACTIONS.index('jaw_drop')] += 0.22 * speech
    action[:, ACTIONS.index('gaze_x')] += 0.5 * drift(rng, frames, 8)
    lid = ACTIONS.index('lid_open')
    for blink in np.flatnonzero(rng.random(frames) < 1 / 45):
        for frame, shut in ((blink - 1, 0.5), (blink, 1), (blink + 1, 0.5)):
            if 0 <= frame < frames:
                action[frame, lid] = (1 - shut) * action[frame, lid] - shut

    labels = np.array(clip.segments)[share.argmax(1)]
    labels[share.max(1) < 0.8] = -1
    for start in np.flatnonzero(rng.random(frames) < 1 / 90):
        labels[start : start + rng.integers(3, 10)] = -1
    return action, labels


def film(frames: int, rng: np.random.Generator) -> Iterator[View]:
    """Head pose and light of each frame of a clip: a setting of its own and slow changes."""

    def walk(centre: float, spread: float, pace: float) -> np.ndarray:
        """Half of the variance lies between clips."""
        return centre + spread * (rng.standard_normal() + drift(rng, frames, pace)) / np.sqrt(2)

    columns = dict(
        yaw=np.clip(walk(0, 0.2, 12), -0.5, 0.5),
        pitch=np.clip(walk(0, 0.1, 12), -0.25, 0.25),
        roll=walk(0, 0.09, 12),
        scale=np.clip(walk(1, 0.06, 15), 0.85, 1.15),
        shift_x=walk(0, 0.07, 9),
        shift_y=walk(0, 0.07, 9),
        light_angle=rng.uniform(0, 2 * np.pi) + 0.6 * drift(rng, frames, 20),
        light_slope=np.clip(walk(0.22, 0.12, 20), 0, 0.5),
        gain=np.clip(walk(0.9, 0.2, 14), 0.5, 1.4),
        noise=np.full(frames, rng.uniform(1, 7)),
        blur=np.clip(walk(0.5, 0.3, 10), 0, 1.2),
        quality=np.clip(walk(82, 9, 6), 60, 96).astype(int),
    )
    cast = np.stack([np.clip(walk(1, 0.07, 20), 0.8, 1.2) for _ in range(3)], 1)
    for frame in range(frames):
        values = {name: column[frame].item() for name, column in columns.items()}
        yield View(cast=tuple(cast[frame]), **values)


def draw_background(size: int, rng: np.random.Generator) -> Image.Image:
    """A wall with some things on it, size x size pixels."""
    image = Image.new('RGB', (size, size), _bytes(rng.uniform(30, 225, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 9)):
        x, y = rng.uniform(-0.2, 1, 2) * size
        shape = pen.rectangle if rng.random() < 0.5 else pen.ellipse
        width, height = rng.uniform(0.1, 0.6, 2) * size
        shape((x, y, x + width, y + height), fill=_bytes(rng.uniform(20, 235, 3)))
    return image.filter(ImageFilter.GaussianBlur(size / 60))


def missing_frames(frames: int, rng: np.random.Generator) -> set[int]:
    """Frames in which the face detector failed: short runs, 1.5 % of all, at least one."""
    runs = max(1, round(0.015 * frames / 2))
    starts = rng.integers(0, frames, runs)
    lengths = rng.integers(1, 4, runs)
    return {
        at
        for start, length in zip(starts, lengths, strict=True)
        for at in range(start, min(start + length, frames))
    }


# ------------------------------------------------------------------ folders


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a demo set."""

    seed: int
    train_clips: int
    val_clips: int
    test_clips: int
    frames: int
    size: int


def plan(settings: Settings) -> list[Clip]:
    """The clips of all splits and what each shows.

    The expressions of a split are dealt like cards, sorted by class: every clip gets about the same
    hand, so that knowing the clip does not help to guess.
    """
    clips: list[Clip] = []
    for number, split in enumerate(('train', 'val', 'test')):
        count = getattr(settings, f'{split}_clips')
        rng = np.random.default_rng([settings.seed, 1, number])
        hands: list[list[int]] = [[] for _ in range(count)]
        for label, share in enumerate(FREQUENCY):
            wanted = max(round(share * count * SEGMENTS_PER_CLIP), min(count, MIN_CLIPS_PER_CLASS))
            for _ in range(wanted):
                # to whom has the fewest of this class, among those the fewest cards, then by chance
                turn = min(
                    (hand.count(label), len(hand), rng.random(), at)
                    for at, hand in enumerate(hands)
                )
                hands[turn[-1]].append(label)
        for hand in hands:
            index = len(clips)
            segments = tuple(rng.permutation(hand).tolist())
            clips.append(Clip(NAMES[index % len(NAMES)].format(index + 1), split, index, segments))
    return clips


def make_clip(clip: Clip, root: Path, settings: Settings) -> dict:
    """Draw one clip and write its frames and, but for the test split, its annotation."""
    rng = np.random.default_rng([settings.seed, 0, clip.index])
    frames = round(settings.frames * rng.uniform(0.7, 1.3))
    identity = Identity.draw(rng)
    action, labels = perform(clip, identity, frames, rng)
    missing = missing_frames(frames, rng)
    background = draw_background(SUPERSAMPLING * settings.size, rng)
    folder = root / 'cropped_aligned' / clip.name
    folder.mkdir(parents=True)
    for at, view in enumerate(film(frames, rng)):
        if at not in missing:
            picture = draw_face(identity, action[at], view, background)
            photo = photograph(picture, view, settings.size, rng)
            photo.save(folder / f'{at + 1:05d}.jpg', quality=view.quality)
    if clip.split != 'test':
        part = {'train': 'Train_Set', 'val': 'Validation_Set'}[clip.split]
        target = root / ANNOTATIONS / part / f'{clip.name}.txt'
        target.write_text('\n'.join([HEADER, *map(str, labels)]) + '\n')
    seen = np.delete(labels, sorted(missing))
    return dict(
        lines=frames,
        frames=len(seen),
        labelled=int((labels >= 0).sum()),
        labelled_with_frame=int((seen >= 0).sum()),
        per_class=np.bincount(seen[seen >= 0], minlength=len(EXPRESSIONS)),
    )


def summarise(settings: Settings, clips: list[Clip], counts: list[dict]) -> dict:
    """What ``facts.json`` says. ``per_class`` counts labelled lines that have a frame."""
    facts: dict = dict(what=WHAT, version=VERSION, settings=asdict(settings))
    for split in ('train', 'val', 'test'):
        own = [count for clip, count in zip(clips, counts, strict=True) if clip.split == split]
        keys = ['lines', 'frames'] + ['labelled', 'labelled_with_frame'] * (split != 'test')
        facts[split] = dict(clips=len(own), **{key: sum(c[key] for c in own) for key in keys})
        if split != 'test':
            facts[split]['per_class'] = sum(count['per_class'] for count in own).tolist()
    return facts


def make_demo_data(root: Path, settings: Settings, workers: int) -> dict:
    """Draw the whole set into ``root``, an existing folder, and return its facts."""
    for part in ('Train_Set', 'Validation_Set'):
        (root / ANNOTATIONS / part).mkdir(parents=True)
    clips = plan(settings)
    make = partial(make_clip, root=root, settings=settings)
    counts = _map(make, clips, workers)
    rows = [
        f'{clip.name}/{line:05d}.jpg,'
        for clip, count in zip(clips, counts, strict=True)
        if clip.split == 'test'
        for line in range(1, count['lines'] + 1)
    ]
    (root / 'test_set_format.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]) + '\n')
    facts = summarise(settings, clips, counts)
    (root / 'facts.json').write_text(json.dumps(facts, indent=1) + '\n')
    return facts


def _map(function: Callable[[Clip], dict], clips: list[Clip], workers: int) -> list[dict]:
    if workers == 1:
        return [function(clip) for clip in clips]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(function, clips))


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place at the end, or goes if anything fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f'.{target.name}.', dir=target.parent))
    try:
        (draft / 'new').mkdir()  # mkdtemp's own folder is closed to other users
        yield draft / 'new'
        if target.exists():
            target.rename(draft / 'old')
        (draft / 'new').rename(target)
    finally:
        shutil.rmtree(draft)


def drawn_before(target: Path) -> dict | None:
    """The facts of a folder that this command made, else None."""
    try:
        facts = json.loads((target / 'facts.json').read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.get('what') == WHAT else None


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out_dir', type=Path, help='folder to make, such as data/demo')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--train-clips', type=int, default=24)
    parser.add_argument('--val-clips', type=int, default=8)
    parser.add_argument('--test-clips', type=int, default=3)
    parser.add_argument('--frames', type=int, default=120, help='mean number of lines of a clip')
    parser.add_argument('--size', type=int, default=112, help='of a frame, in pixels')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1)
    parser.add_argument('--force', action='store_true', help='replace a set drawn with other flags')
    args = parser.parse_args(argv)
    limits = dict(
        seed=(0, 2**32 - 1),
        train_clips=(1, 9999),
        val_clips=(1, 9999),
        test_clips=(0, 9999),
        frames=(40, 50000),
        size=(32, 512),
        workers=(1, 256),
    )
    for name, (low, high) in limits.items():
        got = getattr(args, name)
        if not low <= got <= high:
            flag = name.replace('_', '-')
            parser.error(f'--{flag}: got {got}, expected {low} to {high}; give another --{flag}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    target = Path(os.path.abspath(args.out_dir))  # also for '.', whose name is empty
    settings = Settings(
        args.seed, args.train_clips, args.val_clips, args.test_clips, args.frames, args.size
    )
    before = drawn_before(target)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        if before is None:  # --force too: it may be the real database
            print(
                f'{args.out_dir}: got files that this command did not draw, expected no folder '
                'or an empty one; name another OUT_DIR or move them away',
                file=sys.stderr,
            )
            return 2
        same = (before.get('version'), before.get('settings')) == (VERSION, asdict(settings))
        if same and not args.force:
            print(f'{args.out_dir} holds this demo set already (facts.json); nothing to do')
            return 0
        if not args.force:
            print(
                f'{args.out_dir}: got a demo set drawn with {before.get("settings")}, expected '
                f'{asdict(settings)}; add --force to replace it or name another OUT_DIR',
                file=sys.stderr,
            )
            return 2
    with whole_or_nothing(target) as draft:
        facts = make_demo_data(draft, settings, args.workers)
    print(
        f'{args.out_dir}: drew '
        + ', '.join(
            f'{facts[split]["frames"]} frames of {facts[split]["clips"]} {split} clips'
            for split in ('train', 'val', 'test')
        )
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
