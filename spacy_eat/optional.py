"""Packages that only some installations have, and what to say where they are missing."""

from importlib import import_module
from types import ModuleType


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional package.

    module (str): Its full name, such as "torch".
    extra (str): The extra of this package that installs it.
    purpose (str): What needs it, as the beginning of a sentence: "The embedded LLM".
    RETURNS (ModuleType): The module.
    RAISES (ImportError): It can't be imported. The message says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(str(error), extra=extra, purpose=purpose) from error


def missing(reason: str, *, extra: str, purpose: str) -> ImportError:
    """RETURNS (ImportError): Says what is missing and what to install. Arguments as of `require`."""
    return ImportError(f'{purpose} needs more packages: pip install "spacy-eat[{extra}]" ({reason})')
