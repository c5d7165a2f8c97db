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
``start``      starts a builder, watches it, records what it made
``lifecycle``  create, start, run, stop, remove, list
``sources``    root file systems: directories, archives, image layouts, names; ``bundle`` and
               ``accounts``: what bundles and users mean
``groups``     what is written into its control group
``monitor``    starts a container in the background and sees its end; ``log`` keeps what it says,
               ``attached`` carries its streams, ``attach`` is the other side of them
``afterwards`` wait, kill, logs, inspect; ``copying``: files in and out
``garbage``    ends and removes what a container has, also after a killed nsctl
"""
