"""Earlier names of the settings; to be removed."""

from ssl_norm.data.augment.parameters import ViewParameters as ViewConfig
from ssl_norm.settings.finetune import FinetuneNorm as FinetuneNormConfig
from ssl_norm.settings.finetune import FinetuneSettings as FinetuneConfig
from ssl_norm.settings.finetune import ScoringSettings as ScoringConfig
from ssl_norm.settings.finetune import UbnSettings as UbnConfig
from ssl_norm.settings.method import HeadSettings as HeadConfig
from ssl_norm.settings.pretrain import AugmentSettings as AugmentConfig
from ssl_norm.settings.pretrain import MonitorSettings as MonitorConfig
from ssl_norm.settings.pretrain import NormSettings as NormConfig
from ssl_norm.settings.pretrain import PretrainOptimizer as OptimizerConfig
from ssl_norm.settings.pretrain import PretrainSettings as PretrainConfig
from ssl_norm.settings.sections import DataSettings as DataConfig
from ssl_norm.settings.sections import EncoderOverride, NormOverride
from ssl_norm.settings.sections import EncoderSettings as EncoderConfig
from ssl_norm.settings.sections import OptimizerSettings as OptimizerBase
from ssl_norm.settings.tools import CheckpointSettings as SubjectConfig
from ssl_norm.settings.tools import DataOverride, PixelOverride
from ssl_norm.settings.tools import DiagnoseSettings as DiagnoseConfig
from ssl_norm.settings.tools import KnnSettings as KnnConfig
from ssl_norm.settings.tools import LinearEvalSettings as LinearEvalConfig
from ssl_norm.settings.tools import PopulationStatsSettings as PopulationStatsConfig
from ssl_norm.settings.tools import ProbeSettings as EvaluationConfig
from ssl_norm.settings.tools import ReportSettings as ReportConfig
from ssl_norm.settings.tools import SgdProbeSettings as SgdProbeConfig
from ssl_norm.settings.tools import ToySettings as ToyConfig

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "DataOverride",
    "DiagnoseConfig",
    "EncoderConfig",
    "EncoderOverride",
    "EvaluationConfig",
    "FinetuneConfig",
    "FinetuneNormConfig",
    "HeadConfig",
    "KnnConfig",
    "LinearEvalConfig",
    "MonitorConfig",
    "NormConfig",
    "NormOverride",
    "OptimizerBase",
    "OptimizerConfig",
    "PixelOverride",
    "PopulationStatsConfig",
    "PretrainConfig",
    "ReportConfig",
    "ScoringConfig",
    "SgdProbeConfig",
    "SubjectConfig",
    "ToyConfig",
    "UbnConfig",
    "ViewConfig",
]  # fmt: skip


def __getattr__(name: str) -> type:
    """Return the settings of a learner by their earlier name."""
    from ssl_norm.settings.method import method_model

    methods = {"ByolConfig": "byol", "SimclrConfig": "simclr", "MocoV2Config": "moco_v2"}
    if name not in methods:
        raise AttributeError(name)
    return method_model(methods[name])
