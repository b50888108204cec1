"""Simulate what happens in a clip: facial actions and labels, head pose, light, missing frames."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from abaw_mm.structures.tasks import EXPRESSIONS
from face import ACTIONS, Identity, View, encode_actions

# Each expression has one or more poses, given as strengths of facial actions.
POSES: dict[str, tuple[dict[str, float], ...]] = {
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


@dataclass(frozen=True)
class Clip:
    """Plan of one clip."""

    name: str
    split: str  # 'train', 'val' or 'test'
    index: int  # over all splits; seeds the random generator of the clip
    segments: tuple[int, ...]  # class indices of the expressions shown, in order


def draw_drift(rng: np.random.Generator, length: int, pace: float) -> np.ndarray:
    """Draw smooth noise (length, ) of variance about 1 that decorrelates within ``pace`` frames."""
    reach = int(3 * pace)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / pace) ** 2)
    noise = rng.standard_normal(length + 2 * reach)
    return np.convolve(noise, kernel / np.sqrt((kernel**2).sum()), mode='valid')


def simulate_actions(
    clip: Clip, identity: Identity, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate the facial actions and labels of a clip.

    Returns:
        tuple[ndarray, ndarray]: Actions (F, A) and labels (F, ). The label is -1 in the transition
        from one expression to the next and in a few short runs.
    """
    count = len(clip.segments)
    length = rng.uniform(0.7, 1.3, count)
    starts = np.concatenate([[0], np.cumsum(length)]) / length.sum() * frames
    ramp = np.minimum(rng.uniform(5, 9, count + 1), 0.6 * np.diff(starts).min())
    time = np.arange(frames)[:, None]
    phase = np.clip((time - starts) / ramp + 0.5, 0, 1)
    stage = phase**2 * (3 - 2 * phase)
    stage[:, 0], stage[:, -1] = 1, 0  # a clip begins and ends within an expression
    share = stage[:, :-1] - stage[:, 1:]  # (F, S), sums to 1

    strength = (
        rng.uniform(0.5, 1, count) * (1 + 0.1 * draw_drift(rng, frames, 6))[:, None]
    )  # (F, S)
    ways = [POSES[EXPRESSIONS[segment]] for segment in clip.segments]
    shown = np.array([encode_actions(**way[rng.integers(len(way))]) for way in ways])
    shown *= rng.uniform(0.85, 1.15, shown.shape)
    action = identity.rest + (share * strength) @ shown
    action += 0.04 * np.stack([draw_drift(rng, frames, 5) for _ in ACTIONS], 1)

    speech = np.clip(draw_drift(rng, frames, 25), 0, 1) * np.clip(
        draw_drift(rng, frames, 1.2), 0, 2
    )
    action[:, ACTIONS.index('jaw_drop')] += 0.22 * speech
    action[:, ACTIONS.index('gaze_x')] += 0.5 * draw_drift(rng, frames, 8)
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


def simulate_views(frames: int, rng: np.random.Generator) -> Iterator[View]:
    """Yield head pose and light of each frame: a clip-specific offset plus slow changes."""

    def walk(centre: float, spread: float, pace: float) -> np.ndarray:
        """Half of the variance is between clips, half within them."""
        return centre + spread * (rng.standard_normal() + draw_drift(rng, frames, pace)) / np.sqrt(
            2
        )

    columns = dict(
        yaw=np.clip(walk(0, 0.2, 12), -0.5, 0.5),
        pitch=np.clip(walk(0, 0.1, 12), -0.25, 0.25),
        roll=walk(0, 0.09, 12),
        scale=np.clip(walk(1, 0.06, 15), 0.85, 1.15),
        shift_x=walk(0, 0.07, 9),
        shift_y=walk(0, 0.07, 9),
        light_angle=rng.uniform(0, 2 * np.pi) + 0.6 * draw_drift(rng, frames, 20),
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


def draw_missing_frames(frames: int, rng: np.random.Generator) -> set[int]:
    """Draw the frames in which the face detector fails: short runs, 1.5 % of all, at least one."""
    runs = max(1, round(0.015 * frames / 2))
    starts = rng.integers(0, frames, runs)
    lengths = rng.integers(1, 4, runs)
    return {
        at
        for start, length in zip(starts, lengths, strict=True)
        for at in range(start, min(start + length, frames))
    }
