"""`nsctl images [import|tag|rm|prune]`: root file systems that containers are made from."""

from __future__ import annotations

import sys
import time

from nsctl.cli import common, own_json
from nsctl.errors import UsageError
from nsctl.report.escape import escape
from nsctl.report.table import Column, table
from nsctl.report.units import size
from nsctl.run import sources
from nsctl.run.garbage import boot_id
from nsctl.run.store import default_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from nsctl.run.sources import Stored
    from nsctl.run.store import Store

_ACTIONS = ("import", "tag", "rm", "prune")


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "images",
        "List the images that containers can be made from, or import SOURCE [NAME] (an archive, "
        "an image layout, - for standard input), tag IMAGE NAME, rm IMAGE.., prune those that have "
        "no name and no container.",
    )
    parser.add_argument("action", nargs="?", choices=_ACTIONS, help="by default: list")
    parser.add_argument("operands", metavar="SOURCE|IMAGE|NAME", nargs="*")
    parser.add_argument("-J", "--json", action="store_true", help="print JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colour the output"
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    given: list[str] = args.operands
    store = default_store()
    began = time.time()
    images = sources.image_store(store)
    if args.action is None:
        images.remove_unfinished()
        return _list(images.images(), args, store, began)
    if args.action == "import":
        _expect(given, 1, 2, "import takes SOURCE, and a NAME for it")
        made = sources.import_source(given[0], store, given[1] if given[1:] else "")
        common.put([escape((*made.names, made.id[:12])[0])])
        if made.skipped:
            sys.stderr.write(f"nsctl: {made.skipped} devices were left out\n")
        return 0
    if args.action == "tag":
        _expect(given, 2, 2, "tag takes IMAGE and NAME")
        images.tag(*given)
        return 0
    with sources.roots_in_use(store) as in_use:
        if args.action == "prune":
            _expect(given, 0, 0, "prune takes no names: it removes images that have none")
            common.put(name[:12] for name in images.prune(in_use))
            return 0
        if not given:
            raise UsageError("rm which image?", "nsctl images lists them")
        return common.for_each(given, lambda name: images.remove(name, in_use))


def _expect(given: list[str], least: int, most: int, words: str) -> None:
    if not least <= len(given) <= most:
        raise UsageError(words)


def _list(found: list[Stored], args: argparse.Namespace, store: Store, began: float) -> int:
    if args.json:
        own_json.put_json(
            "images", [_json(each) for each in found], f"{store.storage}/images", began, boot_id()
        )
    elif args.quiet:
        common.put(each.id[:12] for each in found)
    else:
        columns = [
            Column("NAME", shrink=True),
            Column("ID"),
            Column("SIZE", right=True),
            Column("IMPORTED"),
            Column("COMMAND", shrink=True),
            Column("SOURCE", shrink=True),
        ]
        common.put(table(columns, [_cells(each) for each in found], common.style(args.color)))
    return 0


def _cells(each: Stored) -> list[str]:
    return [
        escape(", ".join(each.names)) or "-",
        each.id[:12],
        size(each.size),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(each.imported)),
        escape(" ".join(each.config.argv)) or "-",
        escape(each.source),
    ]


def _json(each: Stored) -> dict[str, Any]:
    config = each.config
    return {
        "id": each.id,
        "names": list(each.names),
        "root": each.root,
        "source": each.source,
        "imported": each.imported,
        "size": each.size,
        "skipped": each.skipped,
        "argv": list(config.argv),
        "entry": config.entry,
        "env": [f"{key}={value}" for key, value in config.env],
        "cwd": config.cwd,
        "user": config.user,
        "labels": dict(config.labels),
        "created": config.created,
    }
