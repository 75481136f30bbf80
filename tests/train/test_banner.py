from ssl_norm.config import FinetuneConfig, FinetuneNormConfig, ScoringConfig, UbnConfig
from ssl_norm.options import replace
from ssl_norm.train.banner import unused_lines


def test_what_was_set_and_means_nothing_is_named():
    config = FinetuneConfig(
        norm=FinetuneNormConfig(encoder="bn"),
        ubn=UbnConfig(ratio=8.0),
        evaluation=ScoringConfig(adapt_samples=[20], statistics=["exact"]),
    )
    of_ubn, of_corruptions = unused_lines(config, True)
    assert "ubn.*, which is for norm.encoder=ubn, and the norm is bn" in of_ubn
    assert "evaluation.adapt_samples" in of_corruptions

    assert "evaluation.statistics" in list(unused_lines(config, False))[-1]

    used = replace(
        config,
        norm=FinetuneNormConfig(encoder="ubn"),
        evaluation=ScoringConfig(adapt_samples=[20], corruptions=["jpeg"]),
    )
    assert not list(unused_lines(used, True))
    assert not list(unused_lines(FinetuneConfig(norm=FinetuneNormConfig(encoder="bn")), True))
