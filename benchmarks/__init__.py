"""Benchmarks: each a module, `python -m benchmarks.NAME [--json]`, its JSON keys named in its docstring."""
