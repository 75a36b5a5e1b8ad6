"""Command line ``cartoframes-lite``."""
