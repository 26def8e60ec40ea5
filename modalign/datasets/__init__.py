"""Public data sets -> manifests: a local copy first, then the owner's download."""
