"""Align faces by five points."""

import cv2
import numpy as np

from abaw_mm.video.face_template import ARCFACE, FaceTemplate


def fit_similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit shift, rotation and scale to pairs of points by least squares.

    Source: Umeyama, *Least-Squares Estimation of Transformation Parameters Between Two Point
    Patterns*, 1991. In the plane, as complex numbers, the solution is one division.

    Args:
        points (ndarray): (..., P, 2) points, not all equal.
        targets (ndarray): (P, 2) or (..., P, 2) points to move them to.

    Returns:
        ndarray: (..., 2, 3) float64 matrices that turn ``[x, y, 1]`` into the target.

    >>> fit_similarity(np.array([[0, 0], [0, 2]]), np.array([[1, 1], [0, 1]]))
    array([[ 0. , -0.5,  1. ],
           [ 0.5,  0. ,  1. ]])
    """
    z, w = (np.asarray(a, np.float64) @ [1, 1j] for a in (points, targets))
    z_mean, w_mean = z.mean(axis=-1, keepdims=True), w.mean(axis=-1, keepdims=True)
    z, w = z - z_mean, w - w_mean
    turn = (z.conj() * w).sum(axis=-1) / (abs(z) ** 2).sum(axis=-1)
    shift = w_mean[..., 0] - turn * z_mean[..., 0]
    rows = [turn.real, -turn.imag, shift.real, turn.imag, turn.real, shift.imag]
    return np.stack(rows, axis=-1).reshape(*turn.shape, 2, 3)


def align(
    image: np.ndarray,
    points: np.ndarray,
    template: FaceTemplate = ARCFACE,
    border: int = cv2.BORDER_CONSTANT,
) -> np.ndarray:
    """Cut faces out of a picture so that their points are where a template has them.

    The pixels are interpolated bilinearly. A face more than twice as large as the template is first
    shrunk to twice its size by area interpolation, so that fine texture does not alias.

    Args:
        image (ndarray): (H, W, 3) uint8.
        points (ndarray): (5, 2) points of one face, or (K, 5, 2) of several, see :class:`Faces`.
        template (FaceTemplate): Size of the crops and where the points go. Defaults to ArcFace's.
        border (int): How OpenCV fills pixels outside of the picture. Black by default.

    Returns:
        ndarray: (S, S, 3) uint8, or (K, S, S, 3), where S is the template's size.
    """
    if points.ndim == 2:
        return _warp(image, fit_similarity(points, template.points), template.size, border)
    crops = [align(image, face, template, border) for face in points]
    return np.stack(crops) if crops else np.empty((0, *[template.size] * 2, 3), np.uint8)


def _warp(image: np.ndarray, matrix: np.ndarray, size: int, border: int) -> np.ndarray:
    """Warp a picture to (S, S, 3) by a matrix in coordinates whose pixels begin at integers."""
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) - matrix[:, 2]
    corners = corners @ np.linalg.inv(matrix[:, :2]).T
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, image.shape[1::-1])
    if np.any(high <= low):
        return np.zeros((size, size, 3), np.uint8)
    region = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
    scale = 2 * np.hypot(*matrix[:, 0])
    shrunk = np.ones(2)
    if scale < 1:  # beyond half the size, bilinear interpolation leaves out pixels
        smaller = np.maximum(np.round((high - low) * scale), 1).astype(int)
        region = cv2.resize(region, smaller.tolist(), interpolation=cv2.INTER_AREA)
        shrunk = smaller / (high - low)
    # From the index of a pixel in the region to its middle, and to the index in the crop.
    turn = matrix[:, :2] / shrunk
    shift = matrix[:, :2] @ low + matrix[:, 2] + turn @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(
        region,
        np.column_stack([turn, shift]),
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
    )
