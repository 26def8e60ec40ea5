"""Recipes: one YAML file a system, read by `modalign.align.recipe_files.load_recipe`."""
