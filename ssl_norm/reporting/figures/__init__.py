"""Figures of a report by name; each is a function that draws groups of runs."""

from ssl_norm.registry import Registry

# In the order of the page. Each yields `FigureFile`s, whose names begin with that of the figure.
FIGURES = Registry(
    "figure",
    {
        "accuracy_by_statistics": "ssl_norm.reporting.figures.accuracy:accuracy_by_statistics",
        "accuracy_over_steps": "ssl_norm.reporting.figures.accuracy:accuracy_over_steps",
        "cosines": "ssl_norm.reporting.figures.collapse:cosines",
        "accuracy": "ssl_norm.reporting.figures.accuracy:accuracy",
        "spectra": "ssl_norm.reporting.figures.collapse:spectra",
        "probes_over_steps": "ssl_norm.reporting.figures.accuracy:probes_over_steps",
        "accuracy_course": "ssl_norm.reporting.figures.accuracy:accuracy_course",
        "layers": "ssl_norm.reporting.figures.collapse:layers",
        "calibration": "ssl_norm.reporting.figures.calibration:calibration",
    },
    expects="a function of groups of runs that yields FigureFiles",
    arguments=1,
)
