"""Figure of the differences between starting points and the images they belong to."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from ssl_norm.figures.style import drawing
from ssl_norm.toy.augmentation import Starts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS, _REDRAWS = 5, 3


def difference_figure(starts: Mapping[str, Starts], labelled: Tensor, caption: str) -> "Figure":
    """Draw labelled images and, for each norm, starting point minus image for several redraws.

    All differences have the same colour scale.

    Args:
        starts: starting points by norm, for the same inputs.
        labelled: (N, 1, H, W), the inputs; 5 evenly chosen ones are drawn.
        caption: text below the panels.
    """
    chosen = [row * len(labelled) // _ROWS for row in range(min(_ROWS, len(labelled)))]
    moves = {
        norm: (found.points - found.inputs).view(-1, *labelled.shape)[:_REDRAWS, chosen, 0]
        for norm, found in starts.items()
    }
    top = max(float(found.abs().max()) for found in moves.values())
    columns = 1 + sum(len(found) for found in moves.values())
    with drawing(0.9 + columns, 1.0 + len(chosen)) as figure:
        grid = figure.subplots(len(chosen), columns, squeeze=False)
        for axes, image in zip(grid[:, 0], labelled[chosen], strict=True):
            axes.imshow(image[0].numpy(), cmap="gray_r")
        grid[0, 0].set_title("labelled")
        column = 1
        for norm, found in moves.items():
            for redraw, differences in enumerate(found, start=1):
                grid[0, column].set_title(f"{norm}, {redraw}")
                for axes, difference in zip(grid[:, column], differences, strict=True):
                    mesh = axes.imshow(difference.numpy(), cmap="RdBu_r", vmin=-top, vmax=top)
                column += 1
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
        figure.colorbar(mesh, ax=grid[:, 1:], pad=0.02, label="starting point - image")
        if caption:
            figure.supxlabel(caption, fontsize=9)
    return figure
