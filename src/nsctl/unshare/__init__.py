"""unshare(1): a program in new namespaces, by util-linux's own options and rules."""
