"""Synchronizations: imports that are done again at intervals."""
