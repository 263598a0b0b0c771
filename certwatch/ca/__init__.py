"""The embedded CA: keys in a token, every act in a ledger that can be proven. Few features, each done right."""
