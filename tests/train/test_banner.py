from ssl_norm.options import replace
from ssl_norm.settings.finetune import FinetuneNorm, FinetuneSettings, ScoringSettings, UbnSettings
from ssl_norm.train.banner import unused_lines


def test_what_was_set_and_means_nothing_is_named():
    config = FinetuneSettings(
        norm=FinetuneNorm(encoder="bn"),
        ubn=UbnSettings(ratio=8.0),
        evaluation=ScoringSettings(adapt_samples=[20], statistics=["exact"]),
    )
    of_ubn, of_corruptions = unused_lines(config, True)
    assert "ubn.*, which is for norm.encoder=ubn, and the norm is bn" in of_ubn
    assert "evaluation.adapt_samples" in of_corruptions

    assert "evaluation.statistics" in list(unused_lines(config, False))[-1]

    used = replace(
        config,
        norm=FinetuneNorm(encoder="ubn"),
        evaluation=ScoringSettings(adapt_samples=[20], corruptions=["jpeg"]),
    )
    assert not list(unused_lines(used, True))
    assert not list(unused_lines(FinetuneSettings(norm=FinetuneNorm(encoder="bn")), True))
