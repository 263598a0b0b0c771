"""The CEL library's compiled part, without the command line that its package imports along.

`import cel` takes a quarter of a second, all of it for its own command line (typer, prompt_toolkit); the extension
module alone takes a fiftieth of that.
"""

import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

#: As `import cel` would name it: whoever imports the package later gets the same module, which can be initialised
#: only once in a process.
_NAME = "cel.cel"


@cache
def cel() -> ModuleType:
    """The module with `compile`. Raises ImportError."""
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = find_spec("cel")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder, f"cel{suffix}")
            if not path.exists():
                continue
            spec = spec_from_file_location(_NAME, path)
            if spec is None or spec.loader is None:
                continue
            module = module_from_spec(spec)
            sys.modules[_NAME] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[_NAME]
                raise
            return module
    # Packaged otherwise than today: the long way.
    import cel as whole

    return whole.cel
