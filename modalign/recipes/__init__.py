"""Recipes: one YAML file a system, read by `modalign.align.config.load_recipe`."""
