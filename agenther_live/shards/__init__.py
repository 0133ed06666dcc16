"""Training shards: formats, the writer, the manifest that readers trust, and the stream over it."""
