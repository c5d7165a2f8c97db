"""The kernel's interfaces: system calls, ioctls, /proc, /sys, netlink.

Only this package touches ctypes, ioctl numbers, /proc, /sys and netlink. One module an
interface, one thin wrapper a call, named as in its manual page; no policy.
"""
