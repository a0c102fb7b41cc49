"""How a model travels to the processes that compute: as bytes, which each process makes a model of once."""

import hashlib
import pickle
from typing import Any

from cyrnn.layers.base.predict import Predicts
from cyrnn.locks import ForkSafeLock

_MOST_KEPT = 4  # models of a process

_kept: dict[str, Predicts] = {}  # by token, the one that was used last at the end
_loading = ForkSafeLock()


class Traveller:
    """A model as it is now, for other processes. Copies share what each process makes of it.

    Parameters
    ----------
    model : Predicts
        It may be of classes that only this process knows, such as those of a notebook.
    """

    def __init__(self, model: Predicts) -> None:
        import cloudpickle

        self._bytes: bytes = cloudpickle.dumps(model)
        self.token = hashlib.sha256(self._bytes).hexdigest()[:32]

    def model(self) -> Predicts:
        """The model in this process."""
        with _loading:
            found = _kept.pop(self.token, None)
            if found is None:
                found = pickle.loads(self._bytes)
                for token in list(_kept)[: len(_kept) + 1 - _MOST_KEPT]:
                    del _kept[token]
            _kept[self.token] = found
            return found

    def __dask_tokenize__(self) -> Any:
        return type(self).__name__, self.token

    def __sizeof__(self) -> int:
        return len(self._bytes)


def arrived(traveller: Traveller) -> Traveller:
    """The task that holds the model on a worker."""
    return traveller
