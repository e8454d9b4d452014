"""Check the modules that an adapter has against those that its config means."""

from __future__ import annotations

from collections.abc import Mapping

from composer.core.suggest import some

from ..embedding_table import describe
from .adapter_config import AdapterConfig
from .adapter_tensors import Fit, split
from .pair import OUTSIDE, Pair


def check_modules(fit: Fit, pairs: Mapping[str, Pair], config: AdapterConfig) -> None:
    """Check the modules that are there against those that a config means."""
    ends = set()
    for path in (*fit.targets, *fit.unused):
        ends.update(_suffixes(path))
    for name in config.targets or ():
        if _from_layers(name) not in ends:
            fit.report(
                "W288", f"{config.file} names {name}, which the decoder does not have", fit.has
            )
    here = fit.seen & fit.targets.keys()
    if not here or not pairs or config.pattern:
        return
    meant = _TargetModules(fit, config)
    wanted = {path for path in fit.targets if meant(path)}
    have = f"adapter: {len(here)} modules, such as {describe(next(iter(pairs.values())).a)}"
    for what, paths in (("missing", wanted - here), ("not meant to be there", here - wanted)):
        if paths:
            number = "1 module is" if len(paths) == 1 else f"{len(paths)} modules are"
            fit.report(
                "W292", f"{number} {what}: {some(sorted(paths, key=split))}", str(meant), have
            )


class _TargetModules:
    """The modules of a decoder that a config means; where it is silent, its tensors decide."""

    def __init__(self, fit: Fit, config: AdapterConfig) -> None:
        here = [split(path) for path in fit.seen & {*fit.targets, *fit.unused}]
        first = min((layer for layer, _ in here if layer >= 0), default=0)
        self.config = config
        self.targets = config.targets or tuple(sorted({module for _, module in here}))
        self.names = frozenset(map(_from_layers, self.targets))
        self.excluded = frozenset(map(_from_layers, config.excluded))
        self.count = fit.count
        last = self.count - first if config.last is None else config.last
        self.start = max(0, self.count - last) if last > 0 else 0
        self.layers = frozenset(config.layers or range(self.start, self.count))

    def __call__(self, path: str) -> bool:
        ends = _suffixes(path)
        inside = split(path)[0] in self.layers and not self.names.isdisjoint(ends)
        return (inside or path in self.names) and self.excluded.isdisjoint(ends)

    def __str__(self) -> str:
        last = self.count - self.start
        where = f"the last {last} of {self.count}" if self.start else f"all {last}"
        where = (
            f"the layers {some(self.config.layers)}" if self.config.layers else f"{where} layers"
        )
        silent = "" if self.config.targets else ", which are those of its tensors,"
        return f"{self.config.file} means {some(self.targets)}{silent} in {where}"


def _from_layers(name: str) -> str:
    """Return a config's name of a module without what stands before its layer."""
    if name.rpartition(".")[2] in OUTSIDE:
        return name.rpartition(".")[2]
    return name[name.find("layers.") :] if "layers." in name else name


def _suffixes(path: str) -> set[str]:
    """Return the names by which a config may mean a module: its path, and each end of it."""
    parts = path.split(".")
    return {".".join(parts[start:]) for start in range(len(parts))}
