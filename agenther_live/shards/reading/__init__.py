"""Reading: following the shards, pulling finite sets, and where each consumer stands."""
