"""Probes: linear and MLP models on frozen features, at shares of the labels."""

from modalign.tasks.probe.evaluate import ProbeEvaluation, evaluate_probe, probe_features
from modalign.tasks.probe.fits import PROBES, Probe
from modalign.tasks.probe.subsets import strata_of, subset

__all__ = ["PROBES", "Probe", "ProbeEvaluation", "evaluate_probe", "probe_features", "strata_of", "subset"]
