"""Routes of the embedded server, one module for each of CARTO's APIs."""
