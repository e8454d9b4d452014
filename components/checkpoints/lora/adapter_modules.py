"""Check the modules that an adapter has against those that its config means."""

from __future__ import annotations

from collections.abc import Mapping

from composer.core.suggest import some

from ..embedding_table import describe_tensor
from .adapter_config import AdapterConfig
from .adapter_tensors import AdapterChecker, split_layer
from .pair import OUTSIDE, LoraPair
from .scaling import layer_path


def check_adapted_modules(
    checker: AdapterChecker, pairs: Mapping[str, LoraPair], config: AdapterConfig
) -> None:
    """Check the modules that are there against those that a config means."""
    ends = set()
    for path in (*checker.targets, *checker.unused):
        ends.update(_suffixes(path))
    for name in config.targets or ():
        if _module_path(name) not in ends:
            checker.report(
                "W288",
                f"{config.file} names {name}, which the {checker.part} does not have",
                checker.decoder_modules,
            )
    here = checker.seen & checker.targets.keys()
    if not here or not pairs or config.pattern:
        return
    meant = _TargetModules(checker, config)
    wanted = {path for path in checker.targets if meant(path)}
    have = f"adapter: {len(here)} modules, such as {describe_tensor(next(iter(pairs.values())).a)}"
    for what, paths in (("missing", wanted - here), ("not meant to be there", here - wanted)):
        if not paths:
            continue
        number = f"{len(paths)} modules are"
        if len(paths) == 1:
            number = "1 module is"
        message = f"{number} {what}: {some(sorted(paths, key=split_layer))}"
        checker.report("W292", message, str(meant), have)


class _TargetModules:
    """The modules of a decoder that a config means; where it is silent, its tensors decide."""

    def __init__(self, checker: AdapterChecker, config: AdapterConfig) -> None:
        layers, modules = set(), set()
        for path in checker.seen & {*checker.targets, *checker.unused}:
            layer, module = split_layer(path)
            modules.add(module)
            if layer >= 0:
                layers.add(layer)
        self.config = config
        self.targets = config.targets or tuple(sorted(modules))
        self.names = frozenset(map(_module_path, self.targets))
        self.excluded = frozenset(map(_module_path, config.excluded))
        self.count = checker.num_layers
        last = config.last
        if last is None:
            last = self.count - min(layers, default=0)
        self.start = max(0, self.count - last) if last > 0 else 0
        self.layers = frozenset(config.layers or range(self.start, self.count))

    def __call__(self, path: str) -> bool:
        ends = _suffixes(path)
        inside = split_layer(path)[0] in self.layers and not self.names.isdisjoint(ends)
        return (inside or path in self.names) and self.excluded.isdisjoint(ends)

    def __str__(self) -> str:
        where = f"all {self.count} layers"
        if self.config.layers:
            where = f"the layers {some(self.config.layers)}"
        elif self.start:
            where = f"the last {self.count - self.start} of {self.count} layers"
        silent = "" if self.config.targets else ", which are those of its tensors,"
        return f"{self.config.file} means {some(self.targets)}{silent} in {where}"


def _module_path(name: str) -> str:
    """Return a config's name of a module without what stands before its layer."""
    last = name.rpartition(".")[2]
    if last in OUTSIDE:
        return last
    return layer_path(name)


def _suffixes(path: str) -> set[str]:
    """Return the names by which a config may mean a module: its path, and each end of it."""
    parts = path.split(".")
    return {".".join(parts[start:]) for start in range(len(parts))}
