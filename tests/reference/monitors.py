"""Measures of embeddings as loops over float64 numbers, written from their definitions."""

from math import exp, log, sqrt

import numpy as np


def _unit(row):
    length = sqrt(sum(value * value for value in row))
    return [value / length if length else 0.0 for value in row]


def _dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def positive_negative_cosine(online, target):
    """Mean cosine of rows i, i and of rows i, j with i != j, of two lists of N rows."""
    z, z_target = [_unit(row) for row in online], [_unit(row) for row in target]
    count = len(z)
    positive = sum(_dot(z[i], z_target[i]) for i in range(count)) / count
    foreign = [_dot(z[i], z_target[j]) for i in range(count) for j in range(count) if i != j]
    return positive, sum(foreign) / len(foreign)


def positive_cosine(online, target):
    return positive_negative_cosine(online, target)[0]


def negative_cosine(online, target):
    return positive_negative_cosine(online, target)[1]


def feature_std(embeddings):
    """Mean over features of the biased deviation of l2-normalized rows, times sqrt(D)."""
    deviations = std_per_dimension(embeddings)
    return sum(deviations) / len(deviations)


def std_per_dimension(embeddings):
    """Biased deviation of each feature of l2-normalized rows, times sqrt(D)."""
    z = [_unit(row) for row in embeddings]
    deviations = []
    for column in zip(*z, strict=True):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        deviations.append(sqrt(variance) * sqrt(len(z[0])))
    return deviations


def dead_dimensions(embeddings):
    """Share of the features whose relative deviation is below a threshold."""
    deviations = std_per_dimension(embeddings)
    return sum(deviation < 0.05 for deviation in deviations) / len(deviations)


def singular_values(embeddings):
    return np.linalg.svd(np.array(embeddings), compute_uv=False).tolist()


def centred(embeddings):
    means = [sum(column) / len(column) for column in zip(*embeddings, strict=True)]
    return [[value - mean for value, mean in zip(row, means, strict=True)] for row in embeddings]


def rank_me(embeddings, eps=1e-7):
    """arXiv 2210.02885, equations 1 and 2."""
    values = singular_values(embeddings)
    shares = [value / sum(values) + eps for value in values]
    return exp(-sum(share * log(share) for share in shares))


def effective_rank(embeddings):
    """Roy & Vetterli 2007, of the centred rows."""
    values = singular_values(centred(embeddings))
    shares = [value / sum(values) for value in values]
    return exp(-sum(share * log(share) for share in shares if share > 0))


def covariance_spectrum(embeddings):
    """Eigenvalues of the biased covariance, descending; arXiv 2110.09348."""
    rows = centred(embeddings)
    size = range(len(rows[0]))
    covariance = [[sum(row[d] * row[e] for row in rows) / len(rows) for e in size] for d in size]
    return sorted(np.linalg.eigvals(np.array(covariance)).real.tolist(), reverse=True)


def participation_ratio(embeddings):
    values = covariance_spectrum(embeddings)
    return sum(values) ** 2 / sum(value**2 for value in values)


def ne_sum(embeddings):
    values = covariance_spectrum(embeddings)
    return sum(value / values[0] for value in values)


def alpha_req(embeddings, first=10, last=99):
    """Minus the slope of the line of least squares in log-log, weighted by 1/i."""
    points = list(enumerate(covariance_spectrum(embeddings), start=1))[first - 1 : last]
    ranks = np.array([rank for rank, _ in points], dtype=float)
    values = np.array([value for _, value in points])
    # numpy.polyfit weights residuals before they are squared.
    return -np.polyfit(np.log(ranks), np.log(values), 1, w=np.sqrt(1 / ranks))[0]


def cev_auc(embeddings):
    """arXiv 2209.15007: mean of the cumulative shares of singular values."""
    values = singular_values(centred([_unit(row) for row in embeddings]))
    cumulative = [sum(values[: k + 1]) / sum(values) for k in range(len(values))]
    return sum(cumulative) / len(cumulative)


def alignment(online, target):
    """arXiv 2005.10242, section 4.1.1."""
    distances = [_distance(_unit(a), _unit(b)) for a, b in zip(online, target, strict=True)]
    return sum(distance**2 for distance in distances) / len(distances)


def uniformity(embeddings):
    """arXiv 2005.10242, section 4.1.2."""
    z = [_unit(row) for row in embeddings]
    potentials = [exp(-2 * _distance(a, b) ** 2) for i, a in enumerate(z) for b in z[:i]]
    return log(sum(potentials) / len(potentials))


def _distance(a, b):
    return sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def off_diagonal_correlation(embeddings):
    """Root of the mean squared correlation over pairs of different dimensions."""
    columns = list(zip(*centred(embeddings), strict=True))
    squares = [
        _dot(a, b) ** 2 / (_dot(a, a) * _dot(b, b))
        for i, a in enumerate(columns)
        for j, b in enumerate(columns)
        if i != j
    ]
    return sqrt(sum(squares) / len(squares))


def token_cosine(tokens):
    cosines = [
        _dot(u, v) / sqrt(_dot(u, u) * _dot(v, v))
        for image in tokens
        for s, u in enumerate(image)
        for t, v in enumerate(image)
        if s != t
    ]
    return sum(cosines) / len(cosines)


def token_outliers(tokens, above=4.0):
    lengths = sorted(sqrt(_dot(token, token)) for image in tokens for token in image)
    median = lengths[(len(lengths) - 1) // 2]
    return sum(length > above * median for length in lengths) / len(lengths)


def lidar(views, delta=1e-4, eps=1e-8):
    """arXiv 2312.04000, equations 1 to 4; W^-1 B has the eigenvalues of W^-1/2 B W^-1/2."""
    n, q, size = len(views), len(views[0]), len(views[0][0])
    means = [[sum(column) / q for column in zip(*image, strict=True)] for image in views]
    mean = [sum(column) / n for column in zip(*means, strict=True)]
    between, within = np.zeros((size, size)), delta * np.eye(size)
    for image, image_mean in zip(views, means, strict=True):
        away = np.array(image_mean) - mean
        between += np.outer(away, away) / (n - 1)
        for view in image:
            away = np.array(view) - image_mean
            within += np.outer(away, away) / (n * (q - 1))
    values = np.linalg.eigvals(np.linalg.inv(within) @ between).real.clip(0)
    shares = [value / sum(values) + eps for value in values]
    return exp(-sum(share * log(share) for share in shares))
