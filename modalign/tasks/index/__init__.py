"""An index on disk: embeddings to search, with their ids and the manifest's columns beside them."""

from modalign.tasks.index.build import build_index
from modalign.tasks.index.index import Index
from modalign.tasks.index.kinds import KINDS, kind_for

__all__ = ["KINDS", "Index", "build_index", "kind_for"]
