"""Mean-only batch normalization."""

from torch import Tensor

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm


class MeanOnlyBatchNorm(BatchStatisticsNorm):
    """y = x - E + beta, with E the mean over batch and space (arXiv 1602.07868, section 4)."""

    equation = "y = x - E + beta; E over batch and space, per channel"
    affine_parameters = ("bias",)

    def rule(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale 1 and shift beta - E."""
        batch_mean, _ = self.statistics(mean, variance)
        return mean.new_ones(()), self.plus_bias(-batch_mean)
