"""PostgreSQL of the embedded server: cluster, roles, grants, sessions, CARTO's SQL functions."""
