"""Draw a cartoon face from its appearance, facial actions and camera view.

Facial actions follow Ekman and Friesen's Facial Action Coding System (FACS).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

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
)  # 0 at rest, 1 at full strength; those in SIGNED may be negative
SIGNED = ('brow_skew', 'lid_open', 'lip_skew', 'gaze_x', 'gaze_y')  # -1 is shut for lid_open


def encode_actions(**strength: float) -> np.ndarray:
    """Return the (A, ) vector over ``ACTIONS``; actions that are not named are at rest.

    Raises:
        ValueError: If a name is not in ``ACTIONS``.
    """
    if unknown := set(strength) - set(ACTIONS):
        raise ValueError(f'got the actions {sorted(unknown)}, expected names from {ACTIONS}')
    return np.array([strength.get(name, 0.0) for name in ACTIONS])


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
    """Appearance of a face, constant within a clip.

    Lengths are in half head widths; y points down from the centre of the head.
    """

    skin: Colour
    hair: Colour
    lips: Colour
    iris: Colour
    cloth: Colour
    head_width: float
    head_height: float
    jaw: float  # how much narrower the chin is than the temples, 0 to 1
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
    rest: np.ndarray  # (A, ) actions of the face at rest: some people look stern, others friendly

    @classmethod
    def draw(cls, rng: np.random.Generator) -> 'Identity':
        """Draw a random face."""
        skin = _pick_colour(rng, SKINS, 12)
        rest = {name: rng.normal(0, 0.1) for name in ('inner_brow', 'outer_brow', 'lid_open')}
        rest |= {
            name: abs(rng.normal(0, 0.12))
            for name in ('brow_lower', 'lip_pull', 'lip_press', 'lip_depress')
        }
        return cls(
            skin=skin,
            hair=_pick_colour(rng, HAIRS, 12),
            iris=_pick_colour(rng, IRISES, 10),
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
            rest=encode_actions(**rest),
        )


@dataclass(frozen=True)
class View:
    """Camera and light of one frame. Angles are in radians, lengths in half head widths."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift_x: float
    shift_y: float
    light_angle: float
    light_slope: float  # relative change of brightness from the centre to the edge, 0 to 1
    gain: float
    cast: Colour  # gain of red, green and blue
    noise: float  # standard deviation, in grey levels
    blur: float  # radius, in pixels of a 112x112 frame
    quality: int  # JPEG quality


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """Interpolate between the colours ``a`` (share 0) and ``b`` (share 1)."""
    return tuple((1 - share) * x + share * y for x, y in zip(a, b, strict=True))


def darken(colour: Sequence[float], factor: float) -> Colour:
    """Multiply all channels by ``factor``."""
    return tuple(factor * x for x in colour)


def _pick_colour(rng: np.random.Generator, palette: Sequence[Colour], spread: float) -> Colour:
    at = rng.uniform(0, len(palette) - 1)
    colour = mix(palette[int(at)], palette[int(at) + 1], at % 1)
    return tuple(np.clip(np.array(colour) + rng.normal(0, spread / 2, 3), 10, 250))


def make_curve(start: Sequence[float], middle: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """Return 12 points, as (12, 2), on the parabola through three points."""
    start, middle, end = (np.asarray(point, float) for point in (start, middle, end))
    t = np.linspace(0, 1, 12)[:, None]
    return (1 - t) * (1 - 2 * t) * start + 4 * t * (1 - t) * middle + t * (2 * t - 1) * end


class Canvas:
    """Draw shapes given in face coordinates onto an image, as seen from a view."""

    def __init__(self, image: Image.Image, view: View) -> None:
        self.image = image
        self.view = view
        self.unit = 0.42 * image.width * view.scale  # pixels per half head width
        self.pen = ImageDraw.Draw(image)

    def project(self, points: np.ndarray, flat: bool = False) -> list[tuple[float, float]]:
        """Convert face coordinates to pixels.

        The face is modelled as a bulge, so turning the head moves the nose most. ``flat`` switches
        the bulge off.
        """
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

    def draw_polygon(self, points: np.ndarray, colour: Colour, flat: bool = False) -> None:
        """Fill the polygon with the given corners."""
        self.pen.polygon(self.project(points, flat), fill=_to_bytes(colour))

    def draw_line(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Draw a line through points; ``width`` is in half head widths."""
        pixels = max(1, round(self.unit * width))
        self.pen.line(self.project(points), fill=_to_bytes(colour), width=pixels, joint='curve')

    def draw_oval(
        self, x: float, y: float, width: float, height: float, colour: Colour, flat: bool = False
    ) -> None:
        """Fill an axis-aligned ellipse with centre (x, y)."""
        angle = np.linspace(0, 2 * np.pi, 28)
        points = np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], 1)
        self.draw_polygon(points, colour, flat)

    @contextmanager
    def clip_to(self, outline: np.ndarray) -> Iterator[None]:
        """Restrict everything drawn in the block to the inside of the outline."""
        before = self.image.copy()
        yield
        mask = Image.new('L', self.image.size, 255)
        ImageDraw.Draw(mask).polygon(self.project(outline), fill=0)
        self.image.paste(before, mask=mask)


def _to_bytes(colour: Colour) -> tuple[int, ...]:
    return tuple(int(np.clip(value, 0, 255)) for value in colour)


def draw_face(
    identity: Identity, action: np.ndarray, view: View, background: Image.Image
) -> Image.Image:
    """Draw one frame, without light and camera noise.

    Args:
        identity: Appearance of the face.
        action: Action strengths (A, ), in the order of ``ACTIONS``.
        view: Position and pose of the head.
        background: Image behind the face. The result has the same size.
    """
    canvas = Canvas(background.copy(), view)
    act = dict(zip(ACTIONS, action.tolist(), strict=True))
    for name in ACTIONS:
        if name not in SIGNED:  # muscles pull, they do not push
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
        canvas.draw_polygon(sides, face.hair, True)
    if face.hair_style != 'bald':
        canvas.draw_oval(
            0, -0.3, 1.12 * face.head_width + 0.1, face.head_height - 0.1, face.hair, True
        )
    canvas.draw_polygon(
        np.array([[-0.5, 0.6], [0.5, 0.6], [0.55, 2.2], [-0.55, 2.2]]), darken(face.skin, 0.8), True
    )
    canvas.draw_polygon(
        np.array([[-0.5, 1.35], [0.5, 1.35], [2.2, 1.7], [2.2, 3], [-2.2, 3], [-2.2, 1.7]]),
        face.cloth,
        True,
    )
    for side in (-1, 1):
        canvas.draw_oval(side * face.head_width, 0.05, 0.13, 0.24, darken(face.skin, 0.85), True)
    canvas.draw_polygon(head, face.skin, True)
    if face.beard in ('stubble', 'full'):
        colour = mix(face.skin, face.hair, 0.3 if face.beard == 'stubble' else 0.85)
        lower = head[(down > 0.15)] * (0.995, 1)
        canvas.draw_polygon(
            np.vstack([lower, [[-0.6, 0.55], [0, 0.42], [0.6, 0.55]]]), colour, True
        )
    if face.hair_style != 'bald':
        line = face.hairline + (0.14 if face.hair_style == 'fringe' else 0)
        bow = line if face.hair_style == 'fringe' else line - 0.16
        top = head[down < -0.45]
        canvas.draw_polygon(
            np.vstack(
                [
                    top * 1.03,
                    make_curve((face.head_width, -0.45), (0.3, bow), (-face.head_width, -0.45)),
                ]
            ),
            face.hair,
            True,
        )


def _draw_nose(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    tip = face.eye_y + face.nose_length - 0.05 * act['nose_wrinkle']
    wing = face.nose_width * (1 + 0.25 * act['nose_wrinkle'])
    dark = darken(face.skin, 0.72)
    canvas.draw_line(
        make_curve((-0.05, face.eye_y), (-0.1, tip - 0.16), (-0.75 * wing, tip - 0.03)), dark, 0.02
    )
    canvas.draw_line(
        make_curve((-wing, tip - 0.02), (0, tip + 0.09), (wing, tip - 0.02)), dark, 0.03
    )
    for side in (-1, 1):
        canvas.draw_oval(side * 0.55 * wing, tip + 0.015, 0.035, 0.022, darken(face.skin, 0.4))
        if act['nose_wrinkle'] > 0.1:
            crease = mix(face.skin, darken(face.skin, 0.45), min(1, act['nose_wrinkle']))
            for row in range(3):
                y = face.eye_y + 0.02 + 0.075 * row
                canvas.draw_line([(side * 0.03, y + 0.03), (side * 0.15, y - 0.03)], crease, 0.025)
        skew = max(0.0, side * act['lip_skew'])
        fold = max(0.15, act['lip_pull'], act['nose_wrinkle'], act['upper_lip'], skew)
        corner = face.mouth_y - 0.08 * max(act['lip_pull'], act['nose_wrinkle']) - 0.18 * skew
        end = face.mouth_width * (1 + 0.3 * max(skew, act['lip_pull'])) + 0.08  # beside the lips
        canvas.draw_line(
            make_curve(
                (side * (wing + 0.04), tip - 0.04),
                (side * (wing + 0.15), tip + 0.08),
                (side * end, corner),
            ),
            mix(face.skin, darken(face.skin, 0.55), min(1, 0.9 * fold)),
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
    upper = make_curve(left, (middle, top - thickness), right)
    lower = make_curve(right, (middle, bottom + 1.4 * thickness), left)
    if face.beard in ('moustache', 'full'):
        canvas.draw_polygon(np.vstack([upper - (0, 0.1), upper[::-1]]), face.hair)
    canvas.draw_polygon(np.vstack([upper, lower]), face.lips)
    inner = np.vstack(
        [make_curve(left, (middle, top), right), make_curve(right, (middle, bottom), left)]
    )
    if bottom - top > 0.03:
        with canvas.clip_to(inner):
            canvas.draw_polygon(inner, (46, 14, 18))
            canvas.draw_oval(middle, bottom + 0.02, 0.7 * half, 0.1, (170, 74, 80))
            canvas.draw_polygon(
                np.vstack(
                    [
                        make_curve(left, (middle, top - 0.1), right),
                        make_curve(right, (middle, top + min(0.1, 0.6 * gap)), left),
                    ]
                ),
                (236, 230, 218),
            )
    canvas.draw_line(inner[:12], darken(face.lips, 0.45), 0.025)
    canvas.draw_line(
        make_curve(
            (-0.12, bottom + 2.4 * thickness + 0.05),
            (0, bottom + 2.1 * thickness + 0.03),
            (0.12, bottom + 2.4 * thickness + 0.05),
        ),
        darken(face.skin, 0.82),
        0.02,
    )


def _draw_eye(canvas: Canvas, face: Identity, act: dict[str, float], side: int) -> None:
    x, y, height = side * face.eye_x, face.eye_y, face.eye_height
    opening = float(np.clip(1 + (0.65 if act['lid_open'] > 0 else 1) * act['lid_open'], 0.02, 1.8))
    squeeze = min(1.0, 0.7 * act['cheek_raise'] + 0.5 * act['nose_wrinkle'])
    inner, outer = (x - side * face.eye_width, y + 0.02), (x + side * face.eye_width, y - 0.01)
    upper = make_curve(
        inner, (x, y + height * (0.55 - 1.6 * opening * (1 - 0.15 * squeeze))), outer
    )
    lower = make_curve(
        outer,
        (x, y + height * (0.55 + 0.3 * min(opening, 1) - 0.6 * squeeze * min(opening, 1))),
        inner,
    )
    lid = np.vstack([upper - (0, 0.45 * height), upper[::-1]])
    canvas.draw_polygon(lid, darken(face.skin, 0.82))
    outline = np.vstack([upper, lower])
    with canvas.clip_to(outline):
        canvas.draw_polygon(outline, (240, 238, 234))
        gaze = (x + 0.06 * act['gaze_x'], y + height * (-0.2 + 0.5 * act['gaze_y']))
        canvas.draw_oval(*gaze, height, height, face.iris)
        canvas.draw_oval(*gaze, 0.5 * height, 0.5 * height, (12, 10, 10))
        canvas.draw_oval(gaze[0] - 0.03, gaze[1] - 0.035, 0.018, 0.018, (250, 250, 250))
    canvas.draw_line(upper, darken(face.skin, 0.25), 0.03)
    canvas.draw_line(lower, darken(face.skin, 0.6), 0.014)
    bag = mix(face.skin, darken(face.skin, 0.5), min(1.0, 0.15 + 0.7 * squeeze))
    canvas.draw_line(lower + (0, 0.7 * height), bag, 0.02)
    if squeeze > 0.2:  # crow's feet
        for row in (-1, 0, 1):
            canvas.draw_line(
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
        canvas.draw_line(rim, (34, 30, 34), 0.03)
        canvas.draw_line([(x - side * 0.27, y), (0, y - 0.02)], (34, 30, 34), 0.03)


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
    canvas.draw_polygon(
        np.vstack(
            [
                make_curve(start - 0.5 * thick, middle - 0.6 * thick, end),
                make_curve(end, middle + 0.4 * thick, start + 0.5 * thick),
            ]
        ),
        mix(darken(face.hair, 0.75), face.skin, 0.1),
    )


def _draw_forehead(canvas: Canvas, face: Identity, act: dict[str, float]) -> None:
    y = face.eye_y - face.brow_gap
    lift = 0.5 * (act['inner_brow'] + act['outer_brow'])
    if lift > 0.25:
        crease = mix(face.skin, darken(face.skin, 0.6), min(1.0, lift))
        for row in (0, 1):
            half = 0.2 + 0.25 * min(1.0, act['outer_brow'])
            line = make_curve(
                (-half, y - 0.21 - 0.09 * row),
                (0, y - 0.24 - 0.09 * row),
                (half, y - 0.21 - 0.09 * row),
            )
            canvas.draw_line(line, crease, 0.02)
    if act['brow_lower'] > 0.15:
        crease = mix(face.skin, darken(face.skin, 0.45), min(1.0, act['brow_lower']))
        for side in (-1, 1):
            canvas.draw_line([(side * 0.06, y - 0.02), (side * 0.045, y + 0.17)], crease, 0.025)


def draw_background(size: int, rng: np.random.Generator) -> Image.Image:
    """Draw a blurred wall with a few shapes on it, size x size pixels."""
    image = Image.new('RGB', (size, size), _to_bytes(rng.uniform(30, 225, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 9)):
        x, y = rng.uniform(-0.2, 1, 2) * size
        shape = pen.rectangle if rng.random() < 0.5 else pen.ellipse
        width, height = rng.uniform(0.1, 0.6, 2) * size
        shape((x, y, x + width, y + height), fill=_to_bytes(rng.uniform(20, 235, 3)))
    return image.filter(ImageFilter.GaussianBlur(size / 60))


def apply_camera(
    picture: Image.Image, view: View, size: int, rng: np.random.Generator
) -> Image.Image:
    """Downscale a drawing to size x size pixels; apply light, lens blur and sensor noise."""
    picture = picture.resize((size, size), Image.Resampling.BOX)
    picture = picture.filter(ImageFilter.GaussianBlur(view.blur * size / 112))
    at = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = at[None, :] - 0.4 * view.shift_x, at[:, None] - 0.4 * view.shift_y
    light = 1 + view.light_slope * (x * np.cos(view.light_angle) + y * np.sin(view.light_angle))
    light = (
        view.gain * light * (1.08 - 0.25 * (x**2 + 0.6 * y**2))
    )  # the head is round, so its edges are darker
    pixels = np.asarray(picture, np.float32) * light[..., None] * np.float32(view.cast)
    pixels += rng.standard_normal((size, size, 1), np.float32) * np.float32(view.noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
