"""The design's table of who may import whom, as a contract of import-linter.

The table itself stands in pyproject.toml, one line a room, a room being a package or module right
below ``nsctl``. Its lines read ``room: what it may import``, besides the rooms that everybody may
import. A room that is not in the table is an error, so a new one needs a line; a line whose room
does not exist yet is none. Only direct imports count: what an imported room imports in turn is
its own affair.

Rooms that are clients (``cli``) hold a file for each command. Such a file may import one of the
capabilities, and of its own room only the modules that are listed as shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grimp import ImportGraph


def _list_of_strings() -> list[str]:
    # A field describes an option at the class; at a contract it is the option's value.
    return cast("list[str]", fields.ListField(subfield=fields.StringField()))


class TableContract(Contract):
    """Checks the direct imports of a package against a table.

    Configuration options:
        everybody: rooms that every other room may import.
        rooms: lines of the table, ``room: room room ..``.
        clients: rooms with a file for each command.
        capabilities: rooms of which a client's file may import one.
        shared: modules of clients, without the package's name, that their other files may import.
    """

    type_name = "table"

    everybody = _list_of_strings()
    rooms = _list_of_strings()
    clients = _list_of_strings()
    capabilities = _list_of_strings()
    shared = _list_of_strings()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002  (its form)
        """Find every direct import that the table does not allow."""
        (package,) = self.session_options["root_packages"]
        table = self._table()
        wrongs = []
        for module in sorted(graph.modules):
            if not module.startswith(f"{package}."):
                continue
            name = module.removeprefix(f"{package}.")
            room = name.partition(".")[0]
            if room not in table:
                wrongs.append(f"{module} is in a room without a line in the table: {room}")
                continue
            imported = {
                target.removeprefix(f"{package}.")
                for target in graph.find_modules_directly_imported_by(module)
                if target.startswith(f"{package}.")
            }
            wrongs += [f"{module} {wrong}" for wrong in self._wrongs(name, imported, table[room])]
        return ContractCheck(kept=not wrongs, metadata={"wrongs": wrongs})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print a line for each import that is not allowed."""
        for wrong in check.metadata["wrongs"]:
            output.print_error(f"- {wrong}")
        output.new_line()

    def _table(self) -> dict[str, frozenset[str]]:
        table = {}
        for line in self.rooms:
            room, _, allowed = line.partition(":")
            table[room] = frozenset(allowed.split())
            if room not in self.everybody:
                table[room] |= frozenset(self.everybody)
        return table

    def _wrongs(self, name: str, imported: set[str], allowed: frozenset[str]) -> Iterator[str]:
        """What is wrong with the imports of one module.

        Args:
            name: the module, without the package's name.
            imported: the modules that it imports, likewise.
            allowed: the rooms that its room may import.
        """
        own = name.partition(".")[0]
        is_command = own in self.clients and name != own and name not in self.shared
        found = {target.partition(".")[0] for target in imported} & set(self.capabilities)
        if is_command and len(found) > 1:
            yield f"imports more than one capability: {', '.join(sorted(found))}"
        for target in sorted(imported):
            room = target.partition(".")[0]
            if room == own:
                if own in self.clients and target != own and target not in self.shared:
                    yield f"imports {target}, which is not listed as shared"
            elif room not in allowed and not (is_command and room in self.capabilities):
                yield f"imports {target}, and {own} may not import {room}"
