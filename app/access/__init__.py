"""Who may do what: API keys, tokens, limits."""
