"""Draw frames with their annotation and prediction during validation and testing."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from PIL import Image

from abaw_mm.checks import at_least, check_arguments
from abaw_mm.files import atomic_write
from abaw_mm.structures import is_frame_batch
from abaw_mm.structures.tasks import (
    ACTION_UNIT,
    ACTION_UNITS,
    TASKS,
    UNLABELLED,
    VALENCE_AROUSAL,
    Target,
)

SIDE, CAPTION = 336, 56  # pixels of the shorter side of a picture, and of the text below it
DPI = 100
COLUMNS = ('pred_label', *(x for t in TASKS['mtl'] for x in (t.prediction, t.ground_truth)))
THRESHOLD = 0.5  # lowest probability of an action unit that is shown as present
INK, RIGHT, WRONG = '#222222', '#1b7a3d', '#b3321f'


@HOOKS.register_module()
class FrameVisualizationHook(Hook):
    """Draw frames, with annotation and prediction below.

    Of expressions these are the label, the predicted class and its probability; of the other
    tracks valence and arousal, and the action units that are present.

    As mmpretrain's ``VisualizationHook``, and also for frame batches, for several processes, each
    of which draws its own frames, and with one picture per frame in ``<out_dir>/<clip>/``, where
    mmpretrain's hook writes the frames of all clips to the same names.

    Args:
        enable (bool): Whether to draw. Defaults to True.
        interval (int): Frames of the dataset from one picture to the next. Defaults to 5000.
        show (bool): Whether to show each picture in a window. Defaults to False.
        wait_time (float): Seconds that a window stays open, 0 for until it is closed. Defaults
            to 0.
        out_dir (str, optional): Folder for the pictures. Defaults to the backends of the
            visualizer, which store those of the first process only.

    Raises:
        ValueError: If ``interval`` is not positive, or ``wait_time`` is negative.
    """

    @check_arguments('default_hooks.visualization', interval=at_least(1), wait_time=at_least(0))
    def __init__(
        self,
        enable: bool = True,
        interval: int = 5000,
        show: bool = False,
        wait_time: float = 0,
        out_dir: str | None = None,
    ) -> None:
        self.enable = enable
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.out_dir = out_dir

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw frames of a batch of the validation."""
        self._draw(runner, data_batch, outputs, runner.iter)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw frames of a batch of the test."""
        self._draw(runner, data_batch, outputs, 0)

    def _draw(self, runner: Runner, data_batch: dict, outputs: Sequence, step: int) -> None:
        if not self.enable:
            return
        classes = (runner.visualizer.dataset_meta or {}).get('classes')
        for row, frame in _iterate_frames(outputs):
            if frame['sample_idx'] % self.interval:
                continue
            lines = describe_frame(frame, classes)
            picture = draw_lines(_get_image(data_batch['inputs'], row), lines)
            clip, name = _name_frame(frame)
            if self.show:
                runner.visualizer.show(picture, f'{clip}/{name}', self.wait_time)
            if self.out_dir is None:
                runner.visualizer.add_image(f'{clip}-{name}'.lstrip('-'), picture, step)
            else:
                end = f'_{step}' if step else ''
                with atomic_write(Path(self.out_dir, clip, f'{name}{end}.png')) as draft:
                    Image.fromarray(picture).save(draft)


def _iterate_frames(outputs: Sequence) -> Iterator[tuple[int, dict]]:
    """Yield the row in the batch and the values of each frame that a model returned."""
    if len(outputs) == 1 and is_frame_batch(outputs[0]):
        batch = outputs[0]
        columns = {
            name: batch.get(name).cpu().numpy()
            for name in ('sample_idx', 'frame_no', 'clip_id', *COLUMNS)
            if name in batch
        }
        for row, clip_id in enumerate(columns.pop('clip_id')):
            frame = {name: column[row] for name, column in columns.items()}
            yield row, dict(frame, clip=batch.clips[clip_id])
        return
    for row, sample in enumerate(outputs):
        frame = {
            name: value.cpu().numpy()
            if isinstance(value := sample.get(name), torch.Tensor)
            else value
            for name in sample.all_keys()
        }
        for name in ('pred_label', 'gt_label'):
            if name in frame:
                frame[name] = int(np.asarray(frame[name]).item())
        yield row, frame


def _name_frame(frame: dict) -> tuple[str, str]:
    """Return the folder and the name of a frame's picture, unique in its dataset."""
    if 'clip' in frame:
        return frame['clip'], f'{int(frame["frame_no"]):05d}'
    name = Path(frame.get('img_path', '')).stem
    return '', f'{int(frame["sample_idx"]):06d}_{name}'.rstrip('_')


def _get_image(inputs: Any, row: int) -> np.ndarray:
    """Return the RGB image (H, W, 3) uint8 of a frame from the inputs of a data loader (BGR)."""
    if isinstance(inputs[0], (list, tuple)) or inputs[0].dim() == 4:
        inputs = inputs[0]  # of test-time augmentation, the first view
    image: torch.Tensor = inputs[row].cpu()
    if image.shape[-1] != 3:
        image = image.permute(1, 2, 0)
    return image.numpy()[..., ::-1].astype(np.uint8)


def describe_frame(
    frame: Mapping[str, Any], classes: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Describe what is annotated and predicted of a frame.

    Args:
        frame (Mapping): Columns of the frame, such as ``pred_label`` and ``pred_score`` (C,), or
            ``gt_va`` and ``pred_va`` (2,), as far as there are any.
        classes (Sequence[str], optional): Names of the classes.

    Returns:
        list[tuple[str, str]]: Lines of text and their colours. Hidden annotations are left out.
    """
    lines = []
    if 'pred_score' in frame:
        label, predicted = int(frame.get('gt_label', UNLABELLED)), int(frame['pred_label'])
        name = (lambda i: f'{i} {classes[i]}') if classes else str
        has_label = label != UNLABELLED
        colour = INK if not has_label else RIGHT if label == predicted else WRONG
        lines += [(f'label: {name(label)}', INK)] if has_label else []
        score = 100 * float(frame['pred_score'][predicted])
        lines.append((f'predicted: {name(predicted)}, {score:.1f} %', colour))
    if VALENCE_AROUSAL.prediction in frame:
        for what, column in (('annotated', 'gt_va'), ('predicted', 'pred_va')):
            if _is_known(frame, column, VALENCE_AROUSAL):
                valence, arousal = (float(x) for x in frame[column])
                lines.append((f'{what}: valence {valence:+.2f}, arousal {arousal:+.2f}', INK))
    if ACTION_UNIT.prediction in frame:
        known = [x for x in ('gt_au', 'pred_au') if _is_known(frame, x, ACTION_UNIT)]
        present = [np.asarray(frame[column]) >= THRESHOLD for column in known]
        for column, units in zip(known, present, strict=True):
            names = ' '.join(ACTION_UNITS[i][2:] for i in np.flatnonzero(units)) or 'none'
            colour = INK
            if column == 'pred_au' and len(known) == 2:
                colour = RIGHT if np.array_equal(present[0], present[1]) else WRONG
            lines.append(
                (f'{"predicted" if column == "pred_au" else "annotated"} AU: {names}', colour)
            )
    return lines


def _is_known(frame: Mapping[str, Any], column: str, target: Target) -> bool:
    """Return whether a frame has a column, and it is not hidden."""
    values = frame.get(column)
    return values is not None and not np.any(np.asarray(values) == target.hidden)


def draw_lines(image: np.ndarray, lines: Sequence[tuple[str, str]]) -> np.ndarray:
    """Draw a frame at a readable size with lines of text below.

    Args:
        image (ndarray): (H, W, 3) uint8 RGB. Small ones are enlarged to a shorter side of 336
            pixels.
        lines (Sequence[tuple[str, str]]): Texts and their colours. The height below the frame is
            that of at least two lines.

    Returns:
        ndarray: (H, W, 3) uint8 RGB.
    """
    scale = max(1.0, SIDE / min(image.shape[:2]))
    height, width = (round(side * scale) for side in image.shape[:2])
    large = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    rows = max(2, len(lines))
    caption_height = round(CAPTION * rows / 2)
    figure = Figure(figsize=(width / DPI, caption_height / DPI), dpi=DPI, facecolor='white')
    canvas = FigureCanvasAgg(figure)
    for line, (text, ink) in enumerate(lines):
        y = 1 - (line + 0.6) / (rows + 0.2)
        figure.text(8 / width, y, text, fontsize=12, color=ink, va='center', parse_math=False)
    canvas.draw()
    caption = np.asarray(canvas.buffer_rgba())[..., :3]
    return np.concatenate([np.asarray(large), caption[:, :width]])
