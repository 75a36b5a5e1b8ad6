"""HTTP requests to one account: connections, streams, retries and rate limits."""
