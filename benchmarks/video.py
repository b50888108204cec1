#!/usr/bin/env python
"""Speed and memory of predicting the expressions of videos, compared with other packages.

    python benchmarks/video.py VIDEO... [--quick] [--json rows.json]

The other way is what one writes without this package: PyAV decodes, facenet-pytorch's ``MTCNN``
finds the faces of each frame, and mmpretrain's ``ImageClassificationInferencer`` classifies a plain
ResNet-18 at 112x112 pixels of the same weights. Both ways use all cores, alternate, and write a
table; the fastest round counts. Weights are random, which does not change the time.

Per video, the rows compare frames/s from the file to the table, and those of finding faces alone.
Further lines check the time stamps against PyAV's, and count faces and persons. Memory is the peak
resident set of a process that predicts the first video, repeated to 10 s and to 10 minutes (not
with ``--quick``). ``ROWS`` describes the rows.
"""

import csv
import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from common import make_parser, report, run_in_fresh_process, time_best
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS

from abaw_mm import compat
from abaw_mm.apis import VideoExpressionInferencer, load_config
from abaw_mm.apis.inference.video_inferencer import BATCH
from abaw_mm.apis.inference.video_result import VideoResult
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.find.mtcnn import MTCNNFinder
from abaw_mm.video.table import write_table
from abaw_mm.video.track.face_tracker import FaceTracker

CONFIG = Path(__file__).parents[1] / 'configs/res18_srp_112_affwild2.py'
MIN_FACE = 40  # pixels
LENGTHS = (10, 600)  # seconds, of the videos whose memory is measured
ROWS = {
    'table': ('from the file to the table', 'frames/s'),
    'faces': ('decode, and find the faces', 'frames/s'),
    'memory': ('peak memory for 10 s (stock) and for 10 minutes (ours)', 'MB'),
}


def write_weights(path: Path) -> None:
    """Write a checkpoint of random weights that fits the config."""
    torch.manual_seed(0)
    model = MODELS.build(compat.adapt_cfg_to_cpu(load_config(str(CONFIG)), 'none').model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)


def read_images(path: str) -> Iterator[np.ndarray]:
    """Yield the pictures of a video, (H, W, 3) uint8 RGB, as PyAV decodes them."""
    with av.open(path) as container:
        container.streams.video[0].thread_type = 'AUTO'
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format='rgb24')


# ------------------------------------------------------------------------------- the other packages


def suppress(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression for torchvision builds without compiled operators."""
    order, kept = scores.argsort(descending=True), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        low = torch.maximum(boxes[first, :2], boxes[order, :2])
        high = torch.minimum(boxes[first, 2:], boxes[order, 2:])
        common = (high - low).clamp(min=0).prod(1)
        order = order[common <= threshold * (area[first] + area[order] - common)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


def build_stock_finder() -> Any:
    """Build facenet-pytorch's detector."""
    from torchvision import extension, ops  # after our import, which makes it possible

    if not extension._has_ops():
        ops.boxes.nms = suppress
    from facenet_pytorch import MTCNN

    return MTCNN(min_face_size=MIN_FACE, keep_all=True)


def find_stock(finder: Any, image: np.ndarray) -> np.ndarray:
    """Return the boxes of a picture, (K, 4)."""
    boxes, _ = finder.detect(image)
    return np.empty((0, 4)) if boxes is None else np.asarray(boxes, float)


def predict_stock(finder: Any, inferencer: Any, path: str, table: Path) -> None:
    """Find and classify the faces of each frame, and write a table."""
    with open(table, 'w', newline='') as file:
        writer = csv.writer(file)
        for index, image in enumerate(read_images(path)):
            crops = [
                image[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right), ::-1]
                for left, top, right, bottom in find_stock(finder, image)
            ]
            results = inferencer([np.ascontiguousarray(crop) for crop in crops]) if crops else []
            for result in results:
                writer.writerow([index, *result['pred_scores'].tolist()])


# -------------------------------------------------------------------------------------------- ours


def predict_ours(inferencer: VideoExpressionInferencer, path: str, table: Path) -> VideoResult:
    """Predict a video and write its table."""
    (result,) = inferencer.forward((VideoReader(path), BATCH))
    write_table(table, path, result.tracks, result.predictions)
    return result


def track_ours(path: str) -> None:
    """Decode a video and follow its faces."""
    tracker = FaceTracker(MTCNNFinder(MIN_FACE))
    for frame in VideoReader(path):
        tracker.update(frame)


def describe(result: VideoResult, path: str) -> str:
    """Compare the time stamps with PyAV's, and count faces and persons."""
    with av.open(path) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    error = max(map(abs, np.array(times) - result.tracks.time))
    frames = np.unique(result.tracks.frame_no) - 1
    seen = f'{frames[0]} to {frames[-1]}' if len(frames) else 'none'
    return (
        f'{Path(path).name}: {len(times)} frames, largest error of a time stamp {error:g} s; '
        f'frames with a face: {len(frames)} ({seen}), persons: {len(result.tracks.clips)}'
    )


def repeat_video(source: str, target: Path, seconds: float) -> None:
    """Copy the packets of a video again and again, with later time stamps."""
    with av.open(source) as container:
        packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
        with av.open(str(target), 'w') as out:
            stream = out.add_stream_from_template(container.streams.video[0])
            length = sum(packet.duration for packet in packets)
            base, last = packets[0].time_base, 0
            stamps = [(packet.pts, packet.dts) for packet in packets]
            for number, packet in enumerate(cycle(packets)):
                turn, at = divmod(number, len(packets))
                last = stamps[at][0] + turn * length
                if last * base >= seconds:
                    break
                packet.pts, packet.dts = last, stamps[at][1] + turn * length
                packet.stream = stream
                out.mux(packet)


def measure_memory(video: str, checkpoint: str, folder: str) -> float:
    """Return the peak memory of a process that predicts a video, in MB."""
    inferencer = VideoExpressionInferencer(str(CONFIG), checkpoint, show_progress=False)
    result = predict_ours(inferencer, video, Path(folder, 'table.csv'))
    logging.disable(logging.NOTSET)
    print(f'{len(result.tracks.time)} frames, {len(result.tracks)} faces: memory measured')
    # Unlike that of getrusage, this peak is not inherited from the process that started this one.
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1e3


def measure(
    videos: list[str], rounds: int, memory: bool, folder: Path
) -> Iterator[tuple[str, float, float]]:
    """Yield the rows."""
    checkpoint = str(folder / 'random.pth')
    write_weights(Path(checkpoint))
    ours = VideoExpressionInferencer(str(CONFIG), checkpoint, show_progress=False)
    plain = load_config(str(CONFIG.with_name('res18_srp_affwild2_plain.py')))
    plain.merge_from_dict(
        {
            'model.backbone.strides': (1, 2, 2, 1),
            'resize.scale': 128,
            'test_dataloader.dataset.pipeline.1.scale': 128,
            'test_dataloader.dataset.pipeline.2.crop_size': 112,
        }
    )
    stock = ImageClassificationInferencer(plain, pretrained=checkpoint, device='cpu')
    finder, table = build_stock_finder(), folder / 'table.csv'
    for path in videos:
        results: list[VideoResult] = []
        tables = _alternate(
            rounds,
            partial(predict_stock, finder, stock, path, table),
            lambda path=path, to=results: to.append(predict_ours(ours, path, table)),
        )
        faces = _alternate(
            rounds,
            lambda path=path: [find_stock(finder, image) for image in read_images(path)],
            partial(track_ours, path),
        )
        frames = len(results[-1].tracks.time)
        yield f'table_{Path(path).stem}', frames / tables[0], frames / tables[1]
        yield f'faces_{Path(path).stem}', frames / faces[0], frames / faces[1]
        print(describe(results[-1], path))
    if memory:
        peaks = []
        for seconds in LENGTHS:
            repeated = folder / f'{seconds}.mp4'
            repeat_video(videos[0], repeated, seconds)
            peaks.append(
                run_in_fresh_process(measure_memory, str(repeated), checkpoint, str(folder))
            )
        yield 'memory', peaks[0], peaks[1]


def _alternate(rounds: int, *ways: Callable[[], object]) -> list[float]:
    """Return the seconds of the fastest call of each function."""
    return np.min([[time_best(1, way) for way in ways] for _ in range(rounds)], axis=0).tolist()


def main() -> None:
    """Run and print."""
    parser = make_parser(__doc__)
    parser.add_argument('videos', nargs='+', metavar='VIDEO', help='paths of videos')
    parser.add_argument('--rounds', type=int, default=3, help='default: 3; 1 with --quick')
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    rows = {
        f'{row}_{Path(path).stem}': (f'{Path(path).name}: {text}', unit)
        for path in args.videos
        for row, (text, unit) in ROWS.items()
        if row != 'memory'
    } | {'memory': ROWS['memory']}
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(args.videos, rounds, not args.quick, Path(folder))
        title = f'videos, {torch.get_num_threads()} threads, fastest of {rounds} rounds'
        report(title, rows, figures, args.json)


if __name__ == '__main__':
    main()
