"""The way out: samples, the pairs made of them, shards that are begun and published, draws for trainers."""
