"""The figure of few-shot learning: the metric over the number of labelled rows a class."""

from __future__ import annotations

from pathlib import Path

from modalign.errors import MissingExtraError
from modalign.tasks.features import UNTRAINED
from modalign.tasks.few_shot.evaluate import FewShotEvaluation, best_method


def plot_shots(evaluation: FewShotEvaluation, path: Path) -> None:
    """Draw each method's mean and 95 % interval over shots, with prompts, chance and baselines, to a PNG or SVG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("the plot of few-shot learning", "plot") from None
    runs = evaluation.runs
    assert runs is not None
    summaries = runs.summaries()
    kinds = list(dict.fromkeys(key[0] for key in summaries))
    shots = sorted({key[2] for key in summaries})
    main = evaluation.results[-1].note.partition(" features")[0]
    lines = [(main, method) for method in dict.fromkeys(key[1] for key in summaries if key[0] == main)]
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kind, method in lines:
        own = [summaries[kind, method, k] for k in shots]
        line = axes.plot(shots, [s.value for s in own], marker="o", markersize=4, label=method)[0]
        if all(s.interval for s in own):
            low, high = zip(*(s.interval or (0.0, 0.0) for s in own))
            axes.fill_between(shots, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    for kind, marker in zip((kind for kind in kinds if kind != main), "s^vDX"):
        values = [summaries[kind, best_method(summaries, kind, k), k].value for k in shots]
        style = ":" if kind.startswith(UNTRAINED) else "-."
        axes.plot(shots, values, style, marker=marker, markersize=4, color="0.45", label=f"{kind}: best on validation")
    if evaluation.prompts is not None:
        axes.axhline(evaluation.prompts.value, linestyle="--", color="black", label="prompts, no labelled rows")
    if evaluation.floor is not None:
        axes.axhline(evaluation.floor.value, color="0.8", zorder=0, label="chance")
    axes.set_xscale("log", base=2)
    axes.set_xticks(shots, [str(k) for k in shots])
    axes.set_xlabel("labelled rows a class")
    axes.set_ylabel(evaluation.metric)
    axes.set_title(f"{evaluation.title.partition(',')[0]}: {evaluation.protocol}", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.01, 1), loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
