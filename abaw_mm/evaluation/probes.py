"""How much of the expressions do features hold? Two simple classifiers that leave them as they are.

Nearest neighbours need no training and show how the features lie; a linear classifier shows what
is in them in any direction. Both are the usual probes of self-supervised learning.
"""

import numpy as np
import torch
from torch.nn import functional as F


def knn_predict(
    train: np.ndarray, labels: np.ndarray, features: np.ndarray, k: int, num_classes: int
) -> np.ndarray:
    """The label that most of the k nearest training frames have, by cosine.

    Args:
        train: (T, D) features of training frames.
        labels: (T, ) int64.
        features: (F, D) of the frames to label.
        k: Number of neighbours, all of them where there are fewer.
        num_classes: Number C of classes.

    Returns:
        ndarray: (F, ) int64; of classes with as many votes the first, as in scikit-learn.

    >>> train = np.array([[1., 0.], [1., .1], [0., 1.]])
    >>> knn_predict(train, np.array([3, 3, 5]), np.array([[2., 0.], [0., 2.]]), 1, 8)
    array([3, 5])
    """
    train, features = (F.normalize(torch.from_numpy(x), dim=1) for x in (train, features))
    votes_of = F.one_hot(torch.from_numpy(labels), num_classes)
    predicted = []
    for part in features.split(1024):  # the table of all pairs may not fit
        nearest = (part @ train.T).topk(min(k, len(train)), dim=1).indices
        predicted.append(votes_of[nearest].sum(1).argmax(1))
    return torch.cat(predicted).numpy()


def linear_predict(train: np.ndarray, labels: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The label by a logistic regression on the training frames' features.

    scikit-learn's, with its default regularisation, on features of mean 0 and deviation 1, each
    class with the same weight in all, as macro-F1 has it.

    Args:
        train: (T, D) features of training frames.
        labels: (T, ) int64.
        features: (F, D) of the frames to label.

    Returns:
        ndarray: (F, ) int64.

    >>> train = np.array([[1., 0.], [1., .1], [0., 1.]])
    >>> linear_predict(train, np.array([3, 3, 5]), np.array([[2., 0.], [0., 2.]]))
    array([3, 5])
    """
    # Here, as it takes a second that `import abaw_mm` need not wait.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) == 1:  # nothing to tell apart; scikit-learn refuses to
        return np.full(len(features), labels[0])
    # double: with float32 the solver stops early, and how early depends on the machine
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight='balanced', max_iter=1000)
    )
    return classifier.fit(train.astype(np.float64), labels).predict(features)
