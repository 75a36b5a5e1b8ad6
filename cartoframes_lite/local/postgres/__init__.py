"""The PostgreSQL behind the embedded server: cluster, roles, grants, sessions, CARTO's SQL functions."""
