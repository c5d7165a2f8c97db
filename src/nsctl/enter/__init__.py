"""Entering what runs already: a container, a process, a namespace.

What is entered is hostile. So nothing of ours runs in there but a small static program (`native/
stage2.c`), which joins the namespaces while it is still a process of the caller's PID namespace,
gives everything up there, and only then sends the command in as a new process, which nobody inside
ever meets with more than its own powers.
"""
