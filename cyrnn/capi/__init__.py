"""cyrnn from other compiled code: the folder of `cyrnn.h`, and its table of functions.

C and C++ find the table by the capsule `api` (``cyrnn_import()`` of the header does), Cython with ``from cyrnn cimport
cyrnn_import``; ctypes and numba through `functions`, cffi and others through `addresses`.
"""

import ctypes
from typing import Any

from cyrnn import engine
from cyrnn.engine.runner import api, api_address

__all__ = ["addresses", "api", "api_address", "functions", "get_include"]

_POINTER, _INT32, _INT64, _SIZE, _STATUS = (
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.c_int64,
    ctypes.c_size_t,
    ctypes.c_int,
)
_STEP = (_STATUS, _POINTER, _POINTER, _POINTER)
_FORWARD = (_STATUS, _POINTER, _INT64, _POINTER, _POINTER)
_STATE = (_STATUS, _POINTER, _INT32, _INT64, _INT64, _POINTER)

# The functions of struct cyrnn_api, in its order: what each returns, and what it takes.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "status_text": (ctypes.c_char_p, _STATUS),
    "model_info": (_STATUS, _POINTER, _POINTER),
    "input_info": (_STATUS, _POINTER, _INT32, _POINTER),
    "output_info": (_STATUS, _POINTER, _INT32, _POINTER),
    "state_info": (_STATUS, _POINTER, _INT32, _POINTER),
    "model_retain": (_STATUS, _POINTER),
    "model_release": (_STATUS, _POINTER),
    "runner_size": (_STATUS, _POINTER, _INT64, _POINTER),
    "runner_create": (_STATUS, _POINTER, _INT64, _POINTER, _SIZE, _POINTER),
    "runner_destroy": (_STATUS, _POINTER),
    "runner_batch": (_STATUS, _POINTER, _POINTER),
    "step": _STEP,
    "step_f32": _STEP,
    "step_f64": _STEP,
    "step_tokens_f32": _STEP,
    "step_tokens_f64": _STEP,
    "forward": (_STATUS, _POINTER, _INT64, _POINTER, _POINTER, _POINTER),
    "forward_f32": _FORWARD,
    "forward_f64": _FORWARD,
    "forward_tokens_f32": _FORWARD,
    "forward_tokens_f64": _FORWARD,
    "get_state_f32": _STATE,
    "get_state_f64": _STATE,
    "set_state_f32": _STATE,
    "set_state_f64": _STATE,
    "reset": (_STATUS, _POINTER),
}


class _Table(ctypes.Structure):
    _fields_ = [
        ("struct_size", _SIZE),
        ("abi_version", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        *((name, _POINTER) for name in _PROTOTYPES),
    ]


def get_include() -> str:
    """The folder of ``cyrnn.h``, for the include path of a compiler.

    Returns
    -------
    str
    """
    from pathlib import Path

    return str(Path(engine.__file__).parent / "include")


def addresses() -> dict[str, int]:
    """The address of each function of ``struct cyrnn_api``.

    Returns
    -------
    dict of str to int
        By the name of the function; a new dict in each call.
    """
    table = _Table.from_address(api_address)
    return {name: getattr(table, name) for name in _PROTOTYPES}


def functions() -> dict[str, Any]:
    """Each function of ``struct cyrnn_api`` as a ctypes function, which numba calls from compiled code without the GIL.

    Returns
    -------
    dict of str to ctypes function
        By the name of the function; a new dict of new functions in each call. Pointers are addresses, statuses ints.
    """
    return {name: ctypes.CFUNCTYPE(*_PROTOTYPES[name])(address) for name, address in addresses().items()}
