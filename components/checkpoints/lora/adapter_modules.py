"""Hold the modules that an adapter has against those that its config means."""

from __future__ import annotations

from collections.abc import Mapping

from composer.core.suggest import some

from ..checkpoint import shown
from .adapter_config import AdapterConfig
from .adapter_tensors import Fit, split
from .pair import Pair


def check_modules(fit: Fit, pairs: Mapping[str, Pair], said: AdapterConfig) -> None:
    """Hold the modules that are there against those that a config means."""
    ends = {end for path in (*fit.targets, *fit.dead) for end in _ends(path)}
    for name in said.targets or ():
        if _plain(name) not in ends:
            fit.report("W288", f"{said.file} names {name}, which the decoder has not", fit.has)
    here = fit.seen & fit.targets.keys()
    if not here or not pairs or said.pattern:
        return
    meant = _Meant(fit, said)
    wanted = {path for path in fit.targets if meant(path)}
    have = f"adapter: {len(here)} modules, such as {shown(next(iter(pairs.values())).a)}"
    for what, paths in (("missing", wanted - here), ("not meant to be there", here - wanted)):
        if paths:
            number = "1 module is" if len(paths) == 1 else f"{len(paths)} modules are"
            fit.report(
                "W292", f"{number} {what}: {some(sorted(paths, key=split))}", str(meant), have
            )


class _Meant:
    """Tell which of a decoder's modules a config means; where it is silent, the tensors tell."""

    def __init__(self, fit: Fit, said: AdapterConfig) -> None:
        here = [split(path) for path in fit.seen & {*fit.targets, *fit.dead}]
        self.said = said
        self.targets = said.targets or tuple(sorted({module for _, module in here}))
        self.names = frozenset(map(_plain, self.targets))
        self.excluded = frozenset(map(_plain, said.excluded))
        self.count = fit.count
        last = self.count - min(here)[0] if said.last is None else said.last
        self.start = max(0, self.count - last) if last > 0 else 0
        self.layers = frozenset(said.layers or range(self.start, self.count))

    def __call__(self, path: str) -> bool:
        ends = _ends(path)
        inside = split(path)[0] in self.layers and not self.names.isdisjoint(ends)
        return (inside or path in self.names) and self.excluded.isdisjoint(ends)

    def __str__(self) -> str:
        last = self.count - self.start
        where = f"the last {last} of {self.count}" if self.start else f"all {last}"
        where = f"the layers {some(self.said.layers)}" if self.said.layers else f"{where} layers"
        silent = "" if self.said.targets else ", which are those of its tensors,"
        return f"{self.said.file} means {some(self.targets)}{silent} in {where}"


def _plain(name: str) -> str:
    """Return a config's name of a module without what stands before its layer."""
    return name[name.find("layers.") :] if "layers." in name else name


def _ends(path: str) -> set[str]:
    """Return the names by which a config may mean a module: its path, and each end of it."""
    parts = path.split(".")
    return {".".join(parts[start:]) for start in range(len(parts))}
