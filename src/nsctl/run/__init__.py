"""Containers of our own: planned, made, started, stopped, listed and removed.

``spec``       what is asked for
``store``      where state and changes are kept; state files, locks, names
``ids``        a range of user ids that nobody else has
``plan``       from a specification to one list of steps, the same for a dry run
``layout``     what the plan depends on, asked of the kernel
``steps``      storage, control groups, the first process; ``namespaces``, and ``finish``: the
               other steps that are not mounts
``builder``    the helper process that runs the list and becomes the container's first process
``context``    what the builder's steps share
``relay``      standard streams and terminals between the caller and the container
``start``      starts a builder, watches it, records what it made
``lifecycle``  create, start, run, stop, remove, list
``garbage``    ends and removes what a container has, also after a killed nsctl
"""
