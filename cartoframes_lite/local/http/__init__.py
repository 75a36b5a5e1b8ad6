"""HTTP of the embedded server: authentication, request bodies, responses, rate limits."""
