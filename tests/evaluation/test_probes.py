"""Probes of features against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from abaw_mm.evaluation.probes import knn_predict, linear_predict


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    labels = rng.choice(8, 300, p=[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    train = rng.standard_normal((300, 16)).astype(np.float32)
    return train, labels, rng.standard_normal((101, 16)).astype(np.float32)


@pytest.mark.parametrize('k', [1, 5, 20])
def test_nearest_neighbours_equal_scikit_learn(frames, k):
    train, labels, val = frames
    predicted = knn_predict(train, labels, val, k, 8)
    oracle = KNeighborsClassifier(k, metric='cosine', algorithm='brute').fit(train, labels)
    np.testing.assert_array_equal(predicted, oracle.predict(val))


def test_linear_probe_balances_classes_and_ignores_scale(frames):
    train, labels, val = frames
    train += 2 * np.eye(8, 16, dtype=np.float32)[labels]
    scale = np.logspace(-3, 3, 16, dtype=np.float32)
    predicted = linear_predict(train * scale + scale, labels, val * scale + scale)
    mean, std = train.mean(0), train.std(0)
    weight = 300 / 8 / np.bincount(labels)
    oracle = LogisticRegression(max_iter=1000).fit(
        (train - mean) / std, labels, sample_weight=weight[labels]
    )
    np.testing.assert_array_equal(predicted, oracle.predict((val - mean) / std))
    np.testing.assert_array_equal(linear_predict(train, labels * 0 + 5, val), [5] * 101)
