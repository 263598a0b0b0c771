"""The words: what certwatch speaks of, as types. Standard library only, no behaviour that needs the world."""
