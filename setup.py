"""Packages of the wheel: every top-level name begins with `retort`, so that nobody's own `pipelines` is shadowed."""

from setuptools import find_packages, setup

FOLDERS = {
    "retort": "retort",
    "retort_components": "components",
    "retort_configs": "configs",
    "retort_pipelines": "pipelines",
}

setup(
    package_dir=FOLDERS,
    packages=[
        name
        for package, folder in FOLDERS.items()
        for name in (
            package,
            *(f"{package}.{part}" for part in find_packages(folder, exclude=["tests", "*.tests", "*.tests.*"])),
        )
    ],
)
