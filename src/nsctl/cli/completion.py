"""`nsctl completion SHELL`: scripts with which bash, zsh and fish complete nsctl's words.

The three ask nsctl itself, `nsctl completion --words N -- nsctl WORD..`, for what word N can
become. The answer is a line for each candidate, perhaps with a tab and what it is. A line that
begins with a colon says what is the shell's own business (`nsctl.cli.words`).
"""

from __future__ import annotations

import sys

from nsctl.cli import common
from nsctl.cli.words import complete
from nsctl.errors import UsageError
from nsctl.report.escape import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_BASH = r"""# bash completion for nsctl: source <(nsctl completion bash)
_nsctl() {
    local line=${COMP_LINE:0:COMP_POINT} bare word index head='' value
    local -a words=()
    # Bash parts words at the characters of COMP_WORDBREAKS too, as the colon: what no blank parts
    # is put together again.
    for ((index = 0; index <= COMP_CWORD; index++)); do
        bare=${line#"${line%%[![:blank:]]*}"}
        word=${COMP_WORDS[index]}
        word=${bare:0:${#word}}
        if ((index == 0)) || [[ $bare != "$line" ]]; then
            words+=("$word")
        else
            words[-1]+=$word
        fi
        line=${bare#"$word"}
    done
    word=${words[-1]}
    if [[ $word == [\'\"]* ]]; then
        words[-1]=${word:1}
    else
        # Readline replaces only what follows the last of those characters; an @ it keeps.
        for ((index = ${#word} - 1; index >= 0; index--)); do
            value=${word:index:1}
            if [[ $value == [:=@] && $COMP_WORDBREAKS == *"$value"* ]]; then
                [[ $value == @ ]] || ((index++))
                head=${word:0:index}
                break
            fi
        done
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r value _; do
        case $value in
            :files) compopt -o default ;;
            :directories) compopt -o dirnames ;;
            :nospace) compopt -o nospace ;;
            *) COMPREPLY+=("${value#"$head"}") ;;
        esac
    done < <(command nsctl completion --words $((${#words[@]} - 1)) -- "${words[@]}" \
        2>/dev/null </dev/null)
}
complete -F _nsctl nsctl
"""

_ZSH = r"""#compdef nsctl
# zsh completion for nsctl: source <(nsctl completion zsh), or as _nsctl in a directory of fpath
_nsctl() {
    local line value help more=' '
    local -a values shown
    while IFS= read -r line; do
        value=${line%%$'\t'*}
        help=${line#*$'\t'}
        case $value in
            :files) [[ $PREFIX == --*=* ]] && compset -P '*='; _files ;;
            :directories) [[ $PREFIX == --*=* ]] && compset -P '*='; _files -/ ;;
            :nospace) more='' ;;
            *)
                values+=("$value")
                if [[ $help != "$line" && -n $help ]]; then
                    shown+=("$value  -- $help")
                else
                    shown+=("$value")
                fi
                ;;
        esac
    done < <(command nsctl completion --words $((CURRENT - 1)) -- "${(@Q)words[1,CURRENT]}" \
        2>/dev/null </dev/null)
    (( $#values )) && compadd -l -S "$more" -d shown -a -- values
}
if [[ $funcstack[1] == _nsctl ]]; then
    _nsctl "$@"
else
    compdef _nsctl nsctl
fi
"""

_FISH = r"""# fish completion for nsctl: nsctl completion fish | source
function __nsctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l head (string match -r -- '^--[^=]*=' "$current")
    set -l path (string replace -r -- '^--[^=]*=' '' "$current")
    for line in (command nsctl completion --words (count $words) -- $words "$current" \
            2>/dev/null </dev/null)
        switch $line
            case :files
                for each in (__fish_complete_path "$path")
                    printf '%s\n' "$head$each"
                end
            case :directories
                for each in (__fish_complete_directories "$path" '')
                    printf '%s\n' "$head$each"
                end
            case ':*'
            case '*'
                printf '%s\n' $line
        end
    end
end
complete -c nsctl -f -a '(__nsctl_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "completion",
        "Print a script with which a shell completes nsctl's words.",
        "bash: source <(nsctl completion bash)    zsh: source <(nsctl completion zsh)\n"
        "fish: nsctl completion fish | source",
    )
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SCRIPTS), help="bash, zsh or fish")
    return parser


def main(words: list[str]) -> int:
    """Run the command, or answer one of its scripts.

    Returns:
        The exit status.
    """
    if words[:1] == ["--words"]:
        return _answer(words[1:])
    sys.stdout.write(SCRIPTS[arguments().parse_args(words).shell])
    return 0


def _answer(words: list[str]) -> int:
    """Say what a word can become: ``N -- nsctl WORD..``, where N counts from nsctl's 0."""
    if len(words) < 3 or not words[0].isdecimal() or words[1] != "--":
        raise UsageError("--words takes N -- nsctl WORD..")
    number, line = int(words[0]), words[2:]
    if not 0 < number < len(line):
        raise UsageError(f"--words {number}: there is no such word")
    for word, help_ in complete(line[1:number], line[number]):
        sys.stdout.write(f"{word}\t{escape(help_)}\n" if help_ else f"{word}\n")
    return 0
