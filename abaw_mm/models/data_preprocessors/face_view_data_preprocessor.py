"""Data preprocessor for self-supervised pre-training: views of faces on the model's device."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from abaw_mm.checks import above, at_least, between, check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.data_preprocessors import face_views


@MODELS.register_module()
class FaceViewDataPreprocessor(BaseDataPreprocessor):
    """Make two views of each face, and a locally warped copy of the first one.

    A view is a random rotation, crop and flip, then random colour, grey and blur. Rotation, crop,
    flip and local warp are one sampling grid: each view is resampled once, from the decoded face.
    The warped view has the same random numbers as the first one, so it differs by the local warp
    only (:func:`~abaw_mm.models.data_preprocessors.face_views.displace_grid`).

    Random numbers are those of torch's global generator, which ``RandomStreamsHook`` seeds in each
    step. In evaluation images are only normalised.

    Args:
        mean, std (Sequence[float]): Mean and standard deviation per channel, in 0-255.
        to_rgb (bool): Whether to convert BGR to RGB. Defaults to True.
        view_size (int): Side of a view, in pixels. Defaults to 112.
        rotation (float): Largest rotation, in degrees. Defaults to 15.
        rotation_prob (float): Probability of a rotation. Defaults to 0.5.
        crop_ratio_range (tuple[float, float]): Range of the area of a crop, as a fraction of the
            face. Defaults to (0.5, 1.0).
        aspect_ratio_range (tuple[float, float]): Range of width / height of a crop. Defaults to
            (0.9, 1.1).
        flip_prob (float): Probability of a horizontal flip. Defaults to 0.5.
        jitter (tuple): Largest relative change of brightness, contrast and saturation, and of the
            hue in turns. Defaults to (0.4, 0.4, 0.2, 0.1).
        jitter_prob (float): Probability of such a change. Defaults to 0.8.
        grey_prob (float): Probability of a grey view. Defaults to 0.2.
        blur_sigma (tuple[float, float]): Range of the standard deviation of the blur, in pixels,
            above 0 and at most 1. Defaults to (0.1, 1.0).
        blur_prob (float): Probability of a blur. Defaults to 0.5.
        warp (dict, optional): Config of ``RandomLocalWarp`` or ``RandomMuscleWarp``. None makes no
            warped view, for BYOL and SimSiam.
        warp_softening (float, optional): Weight of the neighbours in a slight blur of the warped
            view, 0 to 0.25 (:func:`~abaw_mm.models.data_preprocessors.face_views.soften`). Where a
            warp squeezes, it adds more fine detail than it removes where it stretches; this offsets
            the gain of faces. Defaults to the ``softening`` of the warp.

    Raises:
        ValueError: If an argument is out of range.
    """

    @check_arguments(
        'data_preprocessor',
        std=above(0),
        view_size=between(1, 4096),
        rotation=between(0, 180),
        rotation_prob=between(0, 1),
        crop_ratio_range=between(0, 1, above=True),
        aspect_ratio_range=above(0),
        flip_prob=between(0, 1),
        jitter=at_least(0),
        jitter_prob=between(0, 1),
        grey_prob=between(0, 1),
        blur_sigma=between(0, 1, above=True),
        blur_prob=between(0, 1),
        warp_softening=between(0, 0.25),
    )
    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        to_rgb: bool = True,
        view_size: int = 112,
        rotation: float = 15.0,
        rotation_prob: float = 0.5,
        crop_ratio_range: tuple[float, float] = (0.5, 1.0),
        aspect_ratio_range: tuple[float, float] = (0.9, 1.1),
        flip_prob: float = 0.5,
        jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.2, 0.1),
        jitter_prob: float = 0.8,
        grey_prob: float = 0.2,
        blur_sigma: tuple[float, float] = (0.1, 1.0),
        blur_prob: float = 0.5,
        warp: dict | None = None,
        warp_softening: float | None = None,
    ) -> None:
        super().__init__(non_blocking=True)
        # Not persistent, so that checkpoints stay those of mmpretrain.
        self.register_buffer('mean', torch.tensor(mean).float().view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).float().view(-1, 1, 1), persistent=False)
        self.to_rgb = to_rgb
        self.view_size = (view_size, view_size)
        self.affine = (rotation, rotation_prob, crop_ratio_range, aspect_ratio_range, flip_prob)
        self.colour = (jitter, jitter_prob, grey_prob)
        self.blur = (blur_sigma, blur_prob)
        self.warp = None if warp is None else MODELS.build(warp)
        default = 0.0 if self.warp is None else self.warp.softening
        self.warp_softening = default if warp_softening is None else warp_softening

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make the network's input.

        Args:
            data (dict): ``inputs`` (N, 3, H, W) uint8, of ``default_collate``, and
                ``data_samples``. Samples may have ``landmarks`` for the warp.
            training (bool): Whether to make views. Defaults to False.

        Returns:
            dict: ``inputs``, in training a list of two or three views (N, 3, view_size, view_size)
            float32, otherwise the normalised images; and ``data_samples``.

        Raises:
            ValueError: If the images do not have one size, or have landmarks that no warp uses.
        """
        _check_batch(data)
        data = self.cast_data(data)
        images, samples = data['inputs'], data.get('data_samples')
        if self.to_rgb:
            images = images.flip(1)
        if not training:
            images = face_views.normalize(images.float(), self.mean, self.std)
            return dict(inputs=images, data_samples=samples)
        landmarks = _stack_landmarks(samples)
        if landmarks is not None and not getattr(self.warp, 'uses_landmarks', False):
            raise InvalidValueError(
                'train_dataloader.dataset.landmarks: got points of faces, but '
                f'data_preprocessor.warp={type(self.warp).__name__} does not use them; leave them '
                "out, or set warp=dict(type='RandomMuscleWarp')"
            )
        return dict(inputs=self.make_views(images, landmarks), data_samples=samples)

    @torch.no_grad()
    def make_views(
        self, images: torch.Tensor, landmarks: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Make two views of faces (N, 3, H, W), and the warped first view if there is a warp.

        Args:
            images: Faces (N, 3, H, W) of any type, RGB in 0-255.
            landmarks: Five points of each face (N, 5, 2), as fractions of width and height.
        """
        # Half precision cannot distinguish neighbouring places.
        with torch.autocast(images.device.type, enabled=False):
            batch, _, height, width = images.shape
            images, device = images.float(), images.device
            views, grids, looks = [], [], []
            for _ in range(2):
                affine = face_views.draw_affine(batch, (height, width), *self.affine, device=device)
                grids.append(face_views.make_grid(affine, self.view_size))
                colour = face_views.draw_colour(batch, *self.colour, device=device)
                looks.append((colour, face_views.draw_sigma(batch, *self.blur, device=device)))
            if self.warp is not None:
                field = self.warp.draw(batch, height, width, device, landmarks=landmarks)
                grids.append(face_views.displace_grid(grids[0], field))
                looks.append(looks[0])
            for number, (grid, (colour, sigma)) in enumerate(zip(grids, looks, strict=True)):
                view = face_views.sample_views(images, grid)
                if number == 2:
                    view = face_views.soften(view, self.warp_softening)
                view = face_views.apply_colour(view, *colour)
                view = face_views.blur(view, sigma)
                views.append(face_views.normalize(view, self.mean, self.std))
            return views


def _stack_landmarks(samples: list | None) -> torch.Tensor | None:
    if not samples or not all(isinstance(s, DataSample) and 'landmarks' in s for s in samples):
        return None
    return torch.stack([torch.as_tensor(sample.landmarks) for sample in samples]).float()


def _check_batch(data: dict) -> None:
    images = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        raise InvalidValueError(
            'FaceViewDataPreprocessor: got no batch of images (N, 3, H, W), expected one image per '
            "face, all of one size; set collate_fn=dict(type='default_collate') and pipeline to "
            "LoadFaceCrop, dict(type='Resize', scale=(112, 112)) and PackInputs"
        )
