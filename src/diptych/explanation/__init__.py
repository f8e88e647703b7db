"""Why the network answered so."""
