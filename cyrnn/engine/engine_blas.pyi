from typing import Any

engine: Any
version: str
core: str
threads_controlled: bool
