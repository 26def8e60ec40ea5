"""The command line: `modalign COMMAND`; one file a command, heavy imports inside it."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any


def main() -> None:
    """Run the command line. An error that the user can mend is one message and exit code 2, never a traceback."""
    # Text goes to the tokenizer in small batches, and forked workers would warn about its threads.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _plain_warnings()
    from modalign.cli.app import app
    from modalign.errors import ModalignError

    try:
        app()
    except ModalignError as error:
        # Not through rich: it would wrap a path in the middle, and read brackets in it as markup.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _plain_warnings() -> None:
    """Print warnings that are meant for the user without the place in the code that gave them."""
    usual = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
        ours = category.__module__.startswith("modalign.")
        return f"warning: {message}\n" if ours else usual(message, category, *where, **more)

    warnings.formatwarning = plain
