"""Redundancy reduction: the slices of a volume that are not nearly others of it, by a distance of one's choice."""

from modalign.tasks.reduce.distances import DISTANCES, difference_hash, mutual_information
from modalign.tasks.reduce.keeper import greedy_keep
from modalign.tasks.reduce.manifest import Reduction, open_slices, reduce_manifest, rows_to_reduce

__all__ = [
    "DISTANCES",
    "Reduction",
    "difference_hash",
    "greedy_keep",
    "mutual_information",
    "open_slices",
    "reduce_manifest",
    "rows_to_reduce",
]
