"""The kinds of network that come with planeloc, a file each; see `planeloc.networks.kinds`."""
