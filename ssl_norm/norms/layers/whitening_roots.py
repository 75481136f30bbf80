"""Inverse square roots of covariance matrices."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def inverse_square_root(covariance: Tensor, eps: float) -> Tensor:
    """Return (covariance + eps I)^(-1/2), the symmetric root, from the eigenvalues.

        W = V diag((l_i + eps)^(-1/2)) V^T,  where covariance = V diag(l) V^T

    The gradient is taken in the eigenbasis from divided differences of f(l) = (l + eps)^(-1/2),

        (f(l_i) - f(l_j)) / (l_i - l_j) = -1 / (s_i s_j (s_i + s_j)),  s = sqrt(l + eps),

    which stay finite for equal eigenvalues; autograd through `torch.linalg.eigh` divides by their
    difference. Covariances are (G, D, D); negative eigenvalues from rounding count as 0. The root
    of a matrix with values that are not finite is NaN, where `eigh` raises an error. There are
    derivatives of any order.

    Source: Huang et al., arXiv 1804.08450, algorithm 1.
    """
    root: Tensor = _InverseSquareRoot.apply(covariance, eps)[0]
    return root


class _InverseSquareRoot(Function):
    """A, eps -> W = (A + eps I)^(-1/2), and its eigenvalues and eigenvectors."""

    generate_vmap_rule = True

    @staticmethod
    def forward(covariance: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        finite = covariance.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
        eigenvalues, vectors = torch.linalg.eigh(covariance.where(finite, 0))
        roots = (eigenvalues.clamp(min=0) + eps).rsqrt()  # 1 / s
        inverse: Tensor = vectors * roots.unsqueeze(-2) @ vectors.mT
        return inverse.where(finite, torch.nan), roots, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        covariance, ctx.eps = inputs
        ctx.save_for_backward(covariance, *output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        covariance, inverse, roots, vectors = ctx.saved_tensors
        if torch.is_grad_enabled():
            root = inverse @ covariance + ctx.eps * inverse
            return -_Lyapunov.apply(root, inverse @ grad @ inverse, roots, vectors), None
        rows, columns = roots.unsqueeze(-1), roots.unsqueeze(-2)
        differences = -((rows * columns) ** 2) / (rows + columns)
        inner = vectors.mT @ grad @ vectors
        return vectors @ (differences * inner) @ vectors.mT, None


class _Lyapunov(Function):
    """S, C -> the X with S X + X S = C, from the eigenvalues 1 / roots and eigenvectors of S."""

    generate_vmap_rule = True

    @staticmethod
    def forward(root: Tensor, right: Tensor, roots: Tensor, vectors: Tensor) -> Tensor:
        sums = 1 / roots.unsqueeze(-1) + 1 / roots.unsqueeze(-2)
        return vectors @ ((vectors.mT @ right @ vectors) / sums) @ vectors.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        root, _, *basis = inputs
        ctx.save_for_backward(root, output, *basis)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        root, solution, *basis = ctx.saved_tensors
        d_right = _Lyapunov.apply(root, grad, *basis)
        return -(d_right @ solution.mT + solution.mT @ d_right), d_right, None, None


def newton_inverse_square_root(covariance: Tensor, eps: float, iterations: int) -> Tensor:
    """Return an approximation of (covariance + eps I)^(-1/2) by Newton's iterations.

        S = (covariance + eps I) / trace;  P_0 = I;  P_k+1 = (3 P_k - P_k^3 S) / 2
        W = P_T / sqrt(trace),  where trace is that of covariance + eps I

    The trace puts the eigenvalues of S into (0, 1], where the iteration converges; those below
    about (4/9)^T are stretched by at most 1.5^T and not yet whitened after T steps. Computed in the
    coupled form with R_k = S P_k, which does not amplify rounding errors (Higham, Functions of
    Matrices, 2008, chapter 6). There are derivatives of any order.

    Source: Huang et al., arXiv 1904.03441, algorithm 1.
    """
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    regularized = covariance + eps * identity
    trace = regularized.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    root = regularized / trace
    inverse = identity
    for _ in range(iterations):
        step = (3 * identity - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return inverse * trace.rsqrt()
