from typing import Any

engine: Any
library_name: str
core: str
threads_controlled: bool
