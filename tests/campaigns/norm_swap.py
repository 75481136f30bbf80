"""Any norm in any timm network runs, mixes no samples it should not, and swaps back as reported."""

import copy
import re
import warnings
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from ssl_norm.norms import NORMS, parse_norm, replace_norms
from tests.campaigns.campaign import Broken, Chance

TRIALS, SAMPLE = 300, 2
NAMES = """
    test_vit test_vit4 vit_tiny_patch16_224 test_byobnet gcresnext26ts regnetz_b16_evos
    lambda_resnet26t poolformer_s12 poolformerv2_s12 cait_xxs24_224 coat_tiny test_coatnet
    coatnext_nano_rw_224 test_maxvit convnext_atto convnext_atto_rms test_convnext
    convnext_zepto_rms convnextv2_atto crossvit_tiny_240 csatv2 densenet121 dla46x_c
    test_resnet resnet50_gn edgenext_xx_small efficientformer_l1 efficientformerv2_s0
    test_efficientnet test_efficientnet_gn test_efficientnet_evos test_efficientnet_ln
    efficientvim_m1 efficientvit_b0 efficientvit_m0 fasternet_t0 fastvit_t8
    mobilenetv3_small_050 ghostnet_050 gmlp_ti16_224 hgnetv2_b0 iformer_t inception_next_atto
    lcnetv2_small levit_128s mobilevit_xxs mobilevitv2_050 test_mambaout pit_ti_224 pvt_v2_b0
    regnetx_002 repghostnet_050 repvit_m1 resnetv2_18 resnetv2_50d_frn rexnet_100 shvit_s1
    skresnet18 starnet_s050 swiftformer_xs test_vit_relpos tiny_vit_5m_224 visformer_tiny
    vit_tiny_r_s16_p8_224 swin_tiny_patch4_window7_224 nest_tiny convit_tiny mvitv2_tiny
"""
MODELS = tuple(re.findall(r"\S+", NAMES))  # small models with each kind of norm and block


def network(name: str) -> tuple[nn.Module, Tensor]:
    """Return an encoder with random norms, and four images of the size that it takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name, num_classes=0)
    size = model.default_cfg["input_size"][-1]
    fixed = model.default_cfg.get("fixed_input_size") or hasattr(model, "patch_embed")
    side = size if fixed else min(size, 96)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model.eval(), torch.randn(4, 3, side, side)


def differs(one: Tensor, other: Tensor) -> bool:
    """Return whether features differ by more than rounding."""
    return bool((one - other).abs().max() > 2e-3 * other.abs().max())


def trial(chance: Chance, folder: Path) -> None:
    """Swap the norms of one network, run it forward and backward, and swap back."""
    torch.manual_seed(chance.randrange(10**6))
    name, norm = chance.choice(MODELS), chance.choice([*NORMS])
    model, images = network(name)
    with torch.no_grad():
        before = model(images)
    chance.what = f"{name} {norm}"
    try:
        report = replace_norms(model, norm, example=images)
    except (ValueError, TypeError) as error:
        if "\n" in str(error):
            raise Broken("traceback", str(error)) from error
        return
    after = copy.deepcopy(model)
    model.train()(images).square().mean().backward()
    model.eval()
    lost = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.isnan().any()]
    if lost:
        raise Broken("different", f"gradient of {lost[0]} is not a number")
    if not parse_norm(norm).batch_statistics and norm != "act":
        others = torch.cat([images[:1], 3 * torch.randn_like(images[1:]) + 1])
        with torch.no_grad():
            if differs(model(images)[0], model(others)[0]):
                raise Broken("silent", "the features of an image depend on its batch")
    if report.way_back is not None:
        replace_norms(after, report.way_back)
        with torch.no_grad():
            if differs(after.eval()(images), before):
                raise Broken("different", f"{report.way_back} does not give it back")
