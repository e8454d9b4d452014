"""Open the graph of a decoder in ONNX Runtime and run it on memory that is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed

from ..interruptible import run_interruptibly
from ..library import (
    onnxruntime,
    open_session,
    run_options,
    save_prepared,
    session_options,
)
from ..memory import release_memory_after_load
from ..session import CPU, short_error_text
from ..weights import DATA, WeightsFile, private_weights

if TYPE_CHECKING:
    from composer.core.placement import Placement

LONG = 4_000_000_000  # bytes of weights times rows: a tenth of a second


def open_sessions(
    where: str,
    nbytes: int,
    build: Callable[[WeightsFile], None],
    placement: Placement,
    keep_packed: bool = False,
) -> list[DecoderSession]:
    """Open the models that are written down by `build`; their files are removed.

    With `keep_packed` no weight is unpacked for good.
    """
    require_kernels(where, placement)
    with private_weights(nbytes) as weights:
        build(weights)
        return open_models(where, weights.close(), placement, keep_packed)


def require_kernels(where: str, placement: Placement) -> None:
    """Raise R531 for an execution provider that has no kernels for what is written here."""
    for name in placement.get("providers") or (CPU,):
        if name != CPU:
            _raise_problem(
                where,
                "R531",
                f"onnx.lm has no kernels for the execution provider {name}",
                hint=f"place it by providers: {listed([CPU])}, or use mlx.lm",
            )


def open_models(
    where: str,
    paths: Sequence[Path],
    placement: Placement,
    keep_packed: bool = False,
    prepared: Path | None = None,
) -> list[DecoderSession]:
    """Open models over one data file.

    Weights are packed for their kernels, and with the folder `prepared` written there as well, with
    the graphs that they are for. Those of models after the first, for many rows, that no kernel
    packs are left in the file, which is mapped.
    """
    opened = []
    for number, path in enumerate(paths):
        options = session_options(placement.get("threads"))
        if prepared:
            save_prepared(options, prepared_path(prepared, number))
        disabled = _keep_packed(options) if keep_packed or number else ()
        with release_memory_after_load():
            opened.append(DecoderSession(where, path, options, disabled))
    return opened


def _keep_packed(options: Any) -> list[str]:
    """Unpack no weight for good, and return the optimizers that would."""
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ["ConstantFolding"]


def prepared_path(folder: Path, number: int) -> Path:
    """Return where one of the models over a data file is saved as it is prepared."""
    return folder / f"prepared{number}.onnx"


def open_prepared(
    where: str, folder: Path, count: int, placement: Placement
) -> list[DecoderSession]:
    """Open models that were saved as they are prepared, at once: their weights are mapped.

    ONNX Runtime packs each weight once more to see that it is the same, on one thread.
    """

    def opened(number: int) -> DecoderSession:
        options = session_options(placement.get("threads"))
        options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        return DecoderSession(where, prepared_path(folder, number), options)

    with release_memory_after_load(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(opened, range(count)))


class DecoderSession:
    """A loaded model and the names of its inputs; `where` names its checkpoint in errors.

    `nbytes` are those of the weights that it was written with.
    """

    def __init__(
        self, where: str, path: Path, options: Any, disabled_optimizers: Sequence[str] = ()
    ) -> None:
        self.where = where
        self.nbytes = (path.parent / DATA).stat().st_size
        self._options = run_options()
        # Its kernels for ARM round whole rows, not groups of them.
        options.add_session_config_entry("mlas.disable_kleidiai", "1")
        try:
            self._session = open_session(
                path, options, [CPU], disabled_optimizers=list(disabled_optimizers)
            )
        except Exception as error:
            _raise_problem(
                where, "R532", f"ONNX Runtime cannot load its graph: {short_error_text(error)}"
            )
        self.inputs = frozenset(each.name for each in self._session.get_inputs())

    def call(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the only output for inputs by name."""
        (made,) = self.outputs(inputs)
        return made

    def outputs(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return all outputs for inputs by name."""
        made: list[np.ndarray]
        with self._reported():
            made = run_interruptibly(partial(self._session.run, None, inputs))
        return made

    def binding(self) -> Any:
        """Return what holds the memory of one run's inputs and outputs."""
        return self._session.io_binding()

    def run(self, binding: Any, rows: int, *memory: Any) -> None:
        """Run so many rows on the memory that is bound, and hold it to the end."""
        run = partial(self._run_bound, binding, memory)
        with self._reported():
            if rows * self.nbytes < LONG:
                run(self._options)
            else:
                run_interruptibly(run)

    def _run_bound(self, binding: Any, memory: Any, options: Any) -> None:
        self._session.run_with_iobinding(binding, options)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            _raise_problem(self.where, "R533", f"ONNX Runtime failed: {short_error_text(error)}")


def _raise_problem(where: str, code: str, message: str, hint: str | None = None) -> NoReturn:
    """Raise one problem of a decoder."""
    raise ComposerError(Problem(code, f"{where}: {message}", hint=hint))


def bind_input(binding: Any, name: str, array: np.ndarray) -> None:
    """Bind an input to an array's own memory, which must stay."""
    kind = array.dtype.type
    binding.bind_input(name, "cpu", 0, kind, list(array.shape), array.ctypes.data)


def bind_output(binding: Any, name: str, array: np.ndarray) -> None:
    """Bind an output to an array's own memory, which must stay."""
    kind = array.dtype.type
    binding.bind_output(name, "cpu", 0, kind, list(array.shape), array.ctypes.data)
