import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_norm.data.corruption.dataset import corrupted
from ssl_norm.data.corruption.spec import Corruption, parse_corruption
from ssl_norm.data.sources.digits import load_digits_splits
from ssl_norm.errors import UserError
from ssl_norm.evaluate.classifier import (
    EVALUATION_COLUMNS,
    Scoring,
    even_size,
    score_classifier,
    training_domains,
    uncertainty_summary,
)
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.uncertainty import auroc
from ssl_norm.models.encoders import build_encoder
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm
from ssl_norm.norms.swap.replace import replace_norms
from ssl_norm.train.finetune_builder import TrainingImages

CPU = torch.device("cpu")
CONTRAST = Corruption("contrast", 5)
PIXELS = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


@pytest.fixture(scope="module")
def images():
    splits = load_digits_splits(image_size=16, test_fraction=0.2, seed=0)
    everything = splits.train.subset(torch.arange(0, 2000, 10))  # 200
    return TrainingImages(
        everything.subset(range(0, 200, 5)), everything, splits.test.subset(range(0, 300, 3))
    )


def classifier(norm="bn"):
    """Return a small network with wrong running statistics."""
    torch.manual_seed(0)
    encoder = build_encoder("tiny16", small_images=None, image_size=16)
    model = nn.Sequential(encoder, nn.Linear(encoder.num_features, 10))
    replace_norms(model, norm)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
    return model


def plain_views(pixels, generator):
    return (evaluation_view(pixels.permute(0, 2, 3, 1), 16, *PIXELS),)


def scoring_of(images, domains=(), corruptions=(), **scoring):
    defaults = {"samples": [80], "batch_sizes": [40], "batch_size": 50, "adapt_samples": [10]}
    return Scoring(
        images,
        plain_views,
        partial(evaluation_view, image_size=16, mean=PIXELS[0], std=PIXELS[1]),
        training_domains(domains),
        seed=0,
        device=CPU,
        corruptions=[parse_corruption(each) for each in corruptions],
        **(defaults | scoring),
    )


def rows_of(model, images, *domains, final=True, **scoring):
    return score_classifier(scoring_of(images, domains, **scoring), model, 7, final=final)


def one(rows, **wanted):
    """Return the only row with these values."""
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def by_hand(model, pixels, labels, training_on=None):
    """Return top-1 and loss of plain views, with the statistics of other images if given."""
    model = copy.deepcopy(model)
    if training_on is not None:
        for layer in model.modules():
            if "running_mean" in layer._buffers:
                layer.update_rate = layer.momentum = 1.0
        model.train()(evaluation_view(training_on, 16, *PIXELS))
    logits = model.eval()(evaluation_view(pixels, 16, *PIXELS))
    top1 = (logits.argmax(1) == labels).double().mean().item()
    return top1, F.cross_entropy(logits, labels).item()


def test_rows_while_training(images):
    model = classifier()
    rows = rows_of(model, images, final=False)
    assert [tuple(row) for row in rows] == [EVALUATION_COLUMNS] * 3
    assert [tuple(row.values())[:8] for row in rows] == [
        (7, "test", "clean", "population", "", 0, 0, 100),
        (7, "test", "clean", "batch", "", 0, 50, 100),
        (7, "test", "clean", "exact", "all", 80, 40, 100),
    ]
    test = images.test
    found = rows[0]["top1"], rows[0]["loss"]
    assert found == pytest.approx(by_hand(model, test.images, test.labels), rel=1e-5)


def test_exact_statistics_of_one_batch_match_a_training_step(images):
    """One batch of all images: the running statistics after a training step at full rate."""
    model = classifier()
    exact = {"statistics": ["exact"], "samples": [200], "batch_sizes": [200]}
    (row,) = rows_of(model, images, final=False, **exact)
    test = images.test
    expected = by_hand(model, test.images, test.labels, training_on=images.everything.images)
    assert (row["top1"], row["loss"]) == pytest.approx(expected, rel=1e-4)


def test_scoring_leaves_the_model_and_random_state_unchanged(images):
    model = classifier().train()
    before = copy.deepcopy(model.state_dict())
    state = torch.random.get_rng_state()
    rows_of(model, images, train=True, corruptions=["contrast"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_rows_at_the_end(images):
    rows = rows_of(
        classifier(), images, samples=[80, 20], batch_sizes=[40, 10], train=True,
        corruptions=["contrast"], adapt_samples=[10, 100, 1000, 2000],
    )  # fmt: skip
    keys = ("split", "domain", "statistics", "statistics_from", "samples", "batch_size", "images")
    found = [tuple(row[key] for key in keys) for row in rows]
    assert found == [
        ("test", "clean", "population", "", 0, 0, 100),
        ("test", "clean", "batch", "", 0, 50, 100),
        ("test", "clean", "exact", "all", 80, 40, 100),
        ("test", "clean", "exact", "all", 80, 10, 100),
        ("test", "clean", "exact", "all", 20, 40, 100),
        ("test", "clean", "exact", "all", 20, 10, 100),
        ("test", "clean", "exact", "labelled", 80, 40, 100),
        ("train", "clean", "population", "", 0, 0, 40),
        ("train", "clean", "batch", "", 0, 50, 40),
        ("test", "contrast:5", "population", "", 0, 0, 100),
        ("test", "contrast:5", "batch", "", 0, 50, 100),
        ("test", "contrast:5", "exact", "domain", 10, 40, 100),
        ("test", "contrast:5", "exact", "domain", 100, 40, 100),
        ("test", "contrast:5", "exact", "domain", 200, 40, 100),  # all there are
    ]
    assert len({row["loss"] for row in rows}) == len(rows)


def test_there_are_no_rows_of_the_labelled_images_if_all_are(images):
    rows = rows_of(classifier(), replace(images, labelled=images.everything), statistics=["exact"])
    assert [row["statistics_from"] for row in rows] == ["all"]


def test_limit_holds_for_test_and_training_images(images):
    rows = rows_of(classifier(), images, limit=30, train=True)
    assert {row["images"] for row in rows} == {30}
    kept, again = (scoring_of(images, limit=30).limited(images.test) for _ in range(2))
    assert torch.equal(kept.labels, again.labels)
    for limit in (100, None):
        assert scoring_of(images, limit=limit).limited(images.test) is images.test


def test_adapted_statistics_are_those_of_the_corrupted_images(images):
    """As many adapting images as there are, in one batch; contrast draws no random numbers."""
    model = classifier()
    rows = rows_of(
        model, images, corruptions=[{"name": "contrast"}], adapt_samples=[200], batch_sizes=[200]
    )
    row = one(rows, domain="contrast:5", statistics="exact")
    test, seen = (
        corrupted(part, CONTRAST, seed=0).images for part in (images.test, images.everything)
    )
    expected = by_hand(model, test, images.test.labels, training_on=seen)
    assert (row["top1"], row["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("norm", ["gn", "frozen"])
def test_without_batch_statistics_there_are_population_rows(images, norm):
    model = classifier("gn" if norm == "gn" else "bn")
    if norm == "frozen":
        freeze_statistics(model)
    rows = rows_of(model, images, train=True, corruptions=["contrast"])
    assert [(row["split"], row["domain"], row["statistics"]) for row in rows] == [
        ("test", "clean", "population"),
        ("train", "clean", "population"),
        ("test", "contrast:5", "population"),
    ]


def test_rows_do_not_depend_on_the_statistics_that_a_norm_evaluates_by(images):
    plain, by_batch = (
        rows_of(classifier(norm), images) for norm in ("bn", {"name": "bn", "evaluation": "batch"})
    )
    assert by_batch == plain
    assert len({row["loss"] for row in plain if row["statistics"] != "exact"}) == 2


def test_batch_statistics_keep_ghost_batches(images):
    whole, ghost = (
        one(rows_of(classifier(norm), images), statistics="batch")["loss"]
        for norm in ("bn", {"name": "bn", "batch_size": 5})
    )
    small = rows_of(classifier(), images, batch_size=5)
    assert ghost != whole
    assert ghost == pytest.approx(one(small, statistics="batch")["loss"], rel=1e-4)


def test_domains_of_bn(images):
    model = classifier()
    rows = rows_of(model, images, "clean", "contrast", samples=[400], batch_sizes=[400])
    kinds = [(row["domain"], row["statistics"], row["statistics_from"]) for row in rows]
    own = [("population", ""), ("batch", ""), ("exact", "domain")]
    assert kinds == [
        *(("clean", *kind) for kind in own),
        *(("contrast:5", *kind) for kind in own),
        ("clean", "exact", "mixture"),
        ("contrast:5", "exact", "mixture"),
        ("clean", "exact", "labelled"),
        ("contrast:5", "exact", "labelled"),
    ]
    test = corrupted(images.test, CONTRAST, 0)
    expected = by_hand(model, test.images, test.labels)
    row = one(rows, domain="contrast:5", statistics="population")
    assert (row["top1"], row["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("affine_per_domain", [False, True])
def test_domains_of_a_domain_norm(images, affine_per_domain):
    model = classifier({"name": "domain", "domains": 2, "affine_per_domain": affine_per_domain})
    rows = rows_of(model, images, "clean", "contrast", samples=[200], batch_sizes=[200])

    def losses(domain):
        found = [row for row in rows if row["domain"] == domain]
        return {(row["statistics"], row["statistics_from"]): row["loss"] for row in found}

    norms = [layer for layer in model.modules() if isinstance(layer, DomainBatchNorm)]
    test = corrupted(images.test, CONTRAST, 0)
    for layer in norms:  # as if each domain's statistics were those of evaluation
        layer.running_mean[0], layer.running_var[0] = layer.running_mean[1], layer.running_var[1]
        if affine_per_domain:
            layer.weight.data[0], layer.bias.data[0] = layer.weight.data[1], layer.bias.data[1]
    expected = by_hand(model, test.images, test.labels)[1]
    assert losses("contrast:5")["population", ""] == pytest.approx(expected, rel=1e-4)
    for domain in ("clean", "contrast:5"):
        assert losses(domain)["exact", "domain"] != losses(domain)["exact", "mixture"]


def test_wrong_input(images):
    model = classifier({"name": "domain", "domains": 2})
    with pytest.raises(UserError, match="labels must be from 0 to 1, got 2 to 2"):
        rows_of(model, images, "clean", "contrast", "gaussian_blur")
    model = classifier()
    next(model.parameters()).data.fill_(torch.inf)
    with pytest.raises(UserError, match=r"evaluation: the input of layer .* not finite"):
        rows_of(model, images, statistics=["exact"])


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((10_000, 256, 50_000), 250),
        ((10_000, 256, 40), 40),
        ((1000, 256, 1000, 2), 250),
        ((10, 256, 1000, 3), 9),
        ((10, 10, 10, 20), 20),
    ],
)
def test_even_size(arguments, size):
    assert even_size(*arguments) == size


def test_uncertainty_of_a_classifier_that_is_right_now_and_then(images):
    model = classifier().train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    inputs = evaluation_view(images.everything.images, 16, *PIXELS)
    for _ in range(8):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), images.everything.labels).backward()
        optimizer.step()
    before, scoring = copy.deepcopy(model.state_dict()), scoring_of(images)
    found = uncertainty_summary(scoring, model, 4)
    assert found == uncertainty_summary(scoring, model, 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(0 <= value <= 1 for value in found.values())
    test = images.test
    with torch.no_grad():
        sure = model.eval()(evaluation_view(test.images, 16, *PIXELS)).softmax(1)
    wrong = sure.argmax(1) != test.labels
    assert found["error_top1"] == pytest.approx(wrong.double().mean().item())
    assert found["auroc_max_probability"] == pytest.approx(auroc(1 - sure.amax(1), wrong))
    with pytest.raises(UserError, match="has no batch norm, or only frozen ones"):
        uncertainty_summary(scoring, classifier("gn"), 4)
