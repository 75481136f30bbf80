"""Versions, devices and folders for bug reports: the command `ssl-norm env`."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from ssl_norm.exit_code import wants_help
from ssl_norm.text import text_table

PACKAGES = ("torch", "torchvision", "timm", "kornia", "hydra-core", "pydantic", "numpy")


def main(arguments: Sequence[str] = ()) -> int:
    """Print versions, devices and folders; return the exit code."""
    if wants_help(arguments, alone=True):
        print(__doc__)
        return 0
    import torch

    import ssl_norm
    from ssl_norm.files import default_cache_dir
    from ssl_norm.norms.kernels.native_build import describe
    from ssl_norm.settings.folder import CONFIG_FOLDER
    from ssl_norm.train.environment import describe_environment

    cpu = describe_environment(torch.device("cpu"))
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    rows = [
        ("ssl_norm", f"{ssl_norm.__version__}, commit {cpu['commit']}"),
        *((package, version(package)) for package in PACKAGES),
        ("python", cpu["python"]),
        ("CPU", cpu["hardware"]),
        ("GPUs", ", ".join(gpus) or "none"),
        ("compiled passes", describe()),
        ("configs", str(CONFIG_FOLDER)),
        ("cache", str(Path(default_cache_dir()))),
    ]
    print(text_table(rows))
    return 0
