"""Synchronizations: imports that are repeated at intervals."""
