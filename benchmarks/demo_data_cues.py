"""How much of the demo set's labels do trivial cues give away, and how much can be learned?

    python benchmarks/demo_data_cues.py data/demo

Everything is fitted on the training clips and scored on the validation clips, whose faces are
others; labelled lines that have a frame count, a class without any prediction scores 0. Cues:
where in the clip a frame is, how many bytes its JPEG has, the mean and the deviation of its
colours, an 8x8 thumbnail; each with a class-balanced logistic regression and with the five nearest
neighbours (scikit-learn). Against them a small network from random weights on 56x56 pixels, twice:
with the training labels dealt anew (what is left then is chance), and with the true ones. Prints
macro-F1 in %, mean and deviation over ``--net-seeds``, and the F1 of each class.
Takes some minutes on two CPU cores.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

SIDE = 56  # pixels that the network sees


def load(root: Path, split: str) -> dict[str, np.ndarray]:
    """Cues, pixels and labels of the labelled frames of one split, one row a frame."""
    rows: dict[str, list] = {
        name: [] for name in ('position', 'bytes', 'colour', 'thumbnail', 'pixels', 'label')
    }
    for path in sorted(root.glob(f'annotations/*/{split}/*.txt')):
        labels = [int(line) for line in path.read_text().split('\n')[1:] if line]
        for number, label in enumerate(labels, start=1):
            file = root / 'cropped_aligned' / path.stem / f'{number:05d}.jpg'
            if label < 0 or not file.exists():
                continue
            image = Image.open(file).convert('RGB')
            array = np.asarray(image, np.float32)
            rows['position'].append([number / len(labels), (number / len(labels)) ** 2])
            rows['bytes'].append([np.log(file.stat().st_size)])
            rows['colour'].append(np.concatenate([array.mean((0, 1)), array.std((0, 1))]))
            rows['thumbnail'].append(np.asarray(image.resize((8, 8), Image.Resampling.BOX)).ravel())
            rows['pixels'].append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)))
            rows['label'].append(label)
    if not rows['label']:
        raise FileNotFoundError(
            f'{root}: got no labelled frame of {split}, expected a folder that '
            'demo/make_demo_data.py made'
        )
    return {name: np.array(values) for name, values in rows.items()}


def network(width: int = 24) -> nn.Module:
    """Four convolutions and a linear layer, (N, 3, 56, 56) -> (N, 8)."""
    layers: list[nn.Module] = []
    channels = [3, width, 2 * width, 3 * width, 4 * width]
    for before, after in zip(channels, channels[1:], strict=False):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    # 3x3 cells and not one: where in the face something is, is what tells
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels[-1] * 9, 8))


def augment(batch: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Mirror, shift by up to 4 pixels, and change gain and colour of (N, 3, H, W)."""
    if torch.rand((), generator=rng) < 0.5:
        batch = batch.flip(3)
    down, right = torch.randint(0, 9, (2,), generator=rng).tolist()
    height, width = batch.shape[2:]
    batch = F.pad(batch, (4, 4, 4, 4), mode='replicate')
    batch = batch[:, :, down : down + height, right : right + width]
    return batch * (1 + 0.2 * torch.randn(len(batch), 3, 1, 1, generator=rng))


def learn(
    pixels: np.ndarray, label: np.ndarray, unseen: np.ndarray, seed: int, epochs: int
) -> np.ndarray:
    """Train the network from random weights and return its classes of the unseen frames."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = network()
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 128 - 1
    y = torch.from_numpy(label)
    weight = 1 / torch.bincount(y, minlength=8).clamp(min=1).float().sqrt()
    batch = 64
    steps = epochs * (len(x) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=rng)
        for rows in order[: len(x) // batch * batch].split(batch):
            loss = F.cross_entropy(model(augment(x[rows], rng)), y[rows], weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.inference_mode():
        frames = torch.from_numpy(unseen).permute(0, 3, 1, 2).float() / 128 - 1
        return torch.cat([model(part).argmax(1) for part in frames.split(256)]).numpy()


def report(name: str, truth: np.ndarray, runs: list[np.ndarray]) -> None:
    """One row of the table; several runs are averaged."""
    scores = (
        np.array(
            [
                f1_score(truth, guess, labels=range(8), average=None, zero_division=0)
                for guess in runs
            ]
        )
        * 100
    )
    macro = scores.mean(1)
    deviation = f'±{macro.std(ddof=1):4.1f}' if len(runs) > 1 else '     '
    classes = ' '.join(f'{score:5.1f}' for score in scores.mean(0))
    print(f'{name:<34}{macro.mean():5.1f} {deviation}  {classes}', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('root', type=Path, help='folder that demo/make_demo_data.py made')
    parser.add_argument('--epochs', type=int, default=15)
    parser.add_argument('--net-seeds', type=int, nargs='*', default=[0, 1, 2])
    args = parser.parse_args()
    train, val = load(args.root, 'Train_Set'), load(args.root, 'Validation_Set')
    truth = val['label']
    print(f'{len(train["label"])} training frames, {len(truth)} validation frames; F1 in %')
    print(f'{"":<34}macro        Neutr Anger Disgu  Fear Happi Sadne Surpr Other')

    frequent = np.bincount(train['label']).argmax()
    report('always the most frequent class', truth, [np.full(len(truth), frequent)])
    draws = [np.random.default_rng(seed).choice(train['label'], len(truth)) for seed in range(20)]
    report('drawn from the training labels', truth, draws)
    for cue in ('position', 'bytes', 'colour', 'thumbnail'):
        for name, model in (
            ('logistic', LogisticRegression(max_iter=2000, class_weight='balanced')),
            ('5 neighbours', KNeighborsClassifier(5)),
        ):
            fitted = make_pipeline(StandardScaler(), model).fit(train[cue], train['label'])
            report(f'{cue}, {name}', truth, [fitted.predict(val[cue])])
    for name, dealt in (('network, labels dealt anew', True), ('network', False)):
        runs = []
        for seed in args.net_seeds:
            label = train['label']
            if dealt:
                label = np.random.default_rng(seed).permutation(label)
            runs.append(learn(train['pixels'], label, val['pixels'], seed, args.epochs))
        if runs:
            report(name, truth, runs)


if __name__ == '__main__':
    main()
