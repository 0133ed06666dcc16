"""Where shards lie: a local folder, or an object store behind a URL."""
