"""A seeded nemesis: every fault on every path, proven live, while the ledger's clients go on."""
