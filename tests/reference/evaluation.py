"""Evaluation by loops in float64, from the definitions."""

from math import exp, log

import numpy as np


def knn_scores(bank, bank_labels, queries, classes, k, temperature):
    """Votes exp(similarity / temperature) of the k most similar (Wu et al. 2018, section 3.4)."""
    votes = np.zeros((len(queries), classes))
    for i, query in enumerate(queries):
        similarities = [
            float(np.dot(query, sample) / np.linalg.norm(query) / np.linalg.norm(sample))
            for sample in bank
        ]
        nearest = sorted(range(len(bank)), key=lambda j: -similarities[j])[:k]
        for j in nearest:
            votes[i, bank_labels[j]] += exp(similarities[j] / temperature)
    return votes


def logistic_objective(weight, bias, features, labels, inverse_strength):
    """Sum of the samples' cross-entropies plus |weight|^2 / (2 inverse_strength)."""
    total = 0.0
    for x, label in zip(features, labels, strict=True):
        scores = [float(np.dot(row, x)) + float(b) for row, b in zip(weight, bias, strict=True)]
        highest = max(scores)
        total += highest + log(sum(exp(s - highest) for s in scores)) - scores[label]
    return total + sum(float(w) ** 2 for w in np.ravel(weight)) / (2 * inverse_strength)


def top_k_accuracy(scores, labels, k):
    """Share of samples with fewer than k other classes scored higher than theirs."""
    hits = 0
    for row, label in zip(scores, labels, strict=True):
        hits += sum(1 for score in row if score > row[label]) < k
    return hits / len(labels)
