"""The arrows of the way of the data, a module each."""
