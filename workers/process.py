"""What one worker process is made of. Filled by `workers/lifecycle.py` when the process starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.cashier import Cashier
    from workers.runtime import Runtime
    from workers.sweep import Sweeper


class Process:
    """Holds the parts a role needs; asking for one the process does not have is a defect."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._sweeper: Sweeper | None = None
        self._cashier: Cashier | None = None

    @property
    def runtime(self) -> Runtime:
        """The attempt worker's parts."""
        if self._runtime is None:
            raise RuntimeError("this process serves no provider pool")
        return self._runtime

    @runtime.setter
    def runtime(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @property
    def sweeper(self) -> Sweeper:
        """The sweep's parts."""
        if self._sweeper is None:
            raise RuntimeError("this process does not sweep")
        return self._sweeper

    @sweeper.setter
    def sweeper(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper

    @property
    def cashier(self) -> Cashier:
        """The sweep's part about payments."""
        if self._cashier is None:
            raise RuntimeError("this process does not sweep")
        return self._cashier

    @cashier.setter
    def cashier(self, cashier: Cashier) -> None:
        self._cashier = cashier
