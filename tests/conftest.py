"""The suite stands alone: what the caller's shell says about keys, endpoints, homes and proxies does not reach it."""

import os

FOREIGN = ("AGENTHER_", "OPENAI_", "ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy"}

# At import, before any fixture or module under test reads the environment; child processes inherit it.
for name in list(os.environ):
    if name.startswith(FOREIGN) or name.lower() in PROXIES:
        del os.environ[name]
