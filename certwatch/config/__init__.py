"""One YAML file, every key checked."""
