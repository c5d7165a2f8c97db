"""Names for `ip netns`: a container's network namespace at a path below /run/netns (ip-netns(8))."""
