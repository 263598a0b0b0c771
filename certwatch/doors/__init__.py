"""Every way out of the process to the network, guarded: limits on time and size, errors translated once."""
