"""A small procurement world with two agents that fail the way real agents do.

Nothing here needs a key, a server or a network. Read it in the order of the data:
`catalogue` (who sells what) → `goals` (what users ask) → `world` (the tools, and the orders really placed) →
`habits` and `moves` (how the agent behaves) → `policy` (the same as a chat model) → `agents` (two LangGraph graphs)
→ `truth` (what really happened).
"""

DEFAULT_SEED = 57
