"""What container engines say of their containers: one module an engine, each optional.

An engine's module reads state on disk or asks a daemon in one bounded request, and gives
`nsctl.model.container.Container` rows. Nothing that it reads is trusted to be well-formed.
"""
