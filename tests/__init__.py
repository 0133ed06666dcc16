"""The test suite: real graphs, a real buffer, a real HTTP server; no mock of our own code."""
