"""A debug shell beside a target: a process with tools, mounts, powers and a control group of its own.

It shares with the target the namespaces that were asked for and nothing else: its mount namespace
is built for it, the target's files are a clone in it, and all of it goes when it ends.
"""
