"""Probe features with two simple classifiers: nearest neighbours and a linear one.

These are the usual probes of self-supervised learning. Nearest neighbours need no training. A
linear classifier finds what is in the features in any direction.
"""

import numpy as np
import torch
from torch.nn import functional as F


def knn_predict(
    train: np.ndarray, labels: np.ndarray, features: np.ndarray, k: int, num_classes: int
) -> np.ndarray:
    """Predict the most common label among the k nearest training frames, by cosine similarity.

    Args:
        train (ndarray): (T, D) features of the training frames.
        labels (ndarray): (T,) int64 labels of the training frames.
        features (ndarray): (F, D) features of the frames to classify.
        k (int): Number of neighbours, at most T are used.
        num_classes (int): Number C of classes.

    Returns:
        ndarray: (F,) int64 classes, the lowest one on a tie, as in scikit-learn.

    >>> train = np.array([[1., 0.], [1., .1], [0., 1.]])
    >>> knn_predict(train, np.array([3, 3, 5]), np.array([[2., 0.], [0., 2.]]), 1, 8)
    array([3, 5])
    """
    neighbours, queries = (F.normalize(torch.from_numpy(x), dim=1) for x in (train, features))
    votes = F.one_hot(torch.from_numpy(labels), num_classes)
    predicted = []
    for part in queries.split(1024):  # the similarities of all pairs may not fit in memory
        nearest = (part @ neighbours.T).topk(min(k, len(train)), dim=1).indices
        predicted.append(votes[nearest].sum(1).argmax(1))
    return torch.cat(predicted).numpy()


def linear_predict(train: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Predict labels with a logistic regression on the training frames' features.

    Uses scikit-learn with its default regularisation on standardised features. All classes have the
    same total weight, as in macro-F1.

    Args:
        train (ndarray): (T, D) features of the training frames.
        labels (ndarray): (T,) int64 labels of the training frames.
        features (ndarray): (F, D) features of the frames to classify.

    Returns:
        ndarray: (F,) int64 classes.

    >>> train = np.array([[1., 0.], [1., .1], [0., 1.]])
    >>> linear_predict(train, np.array([3, 3, 5]), np.array([[2., 0.], [0., 2.]]))
    array([3, 5])
    """
    # Imported here because it takes a second, which `import abaw_mm` would have to wait.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) == 1:  # scikit-learn refuses a single class
        return np.full(len(features), labels[0])
    # In float32 the solver stops early, at a point that depends on the machine.
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight='balanced', max_iter=1000)
    )
    return classifier.fit(train.astype(np.float64), labels).predict(features)
