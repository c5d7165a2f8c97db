"""Mount work as values: what is to be done, in words, as a command, and done.

A step is a named tuple with ``describe()``, ``command()`` and ``execute(context)``; a list of
steps is a plan, which can be shown without being run. All work is on descriptors: mounts are
made detached and attached to places that were resolved inside the new root, so that neither
the root file system nor a container can redirect them.
"""
