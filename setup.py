"""Find the packages: `components/` installs as `composer.components`, data beside it."""

from setuptools import find_packages, setup

DATA = ["composer.bundles", "composer.schemas", "composer.pages"]

setup(
    packages=[
        *find_packages(include=["composer", "composer.*"]),
        *(f"composer.{name}" for name in find_packages(include=["components", "components.*"])),
        *DATA,
    ]
)
