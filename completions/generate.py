"""Writes the completions for bash and zsh from the option tables.

usage: python completions/generate.py

A test holds the files against the tables; run this when it says that they are out of date.
"""

from pathlib import Path

from dcmstore.optiontable import KEYWORD, Option, Parameter, Program, Value
from storescpd.options import PROGRAM as RECEIVER
from storescu.options import PROGRAM as SENDER

HERE = Path(__file__).resolve().parent

# What stands for a value or a parameter, by its name in the tables. A list is of words.
_FILE, _FOLDER, _USER, _GROUP, _COMMAND, _HOST, _TEXT = (
    "file",
    "directory",
    "user",
    "group",
    "command",
    "host",
    "text",
)
_KINDS: dict[str, str | tuple[str, ...]] = {
    "address": _HOST,
    "certificate file": _FILE,
    "command": _COMMAND,
    "dcmfile-in": _FILE,
    "directory": _FOLDER,
    "filename": _FILE,
    "group": _GROUP,
    "key file": _FILE,
    "peer": _HOST,
    "port": ("104", "2762", "11112"),
    "user": _USER,
}

_BASH = """\
# bash completion for {names}, made by completions/generate.py from the option tables.

{function}()
{{
    local -A values=(
{values}
    )
    local line=$COMP_LINE word
    local -a words=() kinds=()
    # A value may hold what bash takes for the end of a word, such as a colon.
    for word in "${{COMP_WORDS[@]:0:COMP_CWORD+1}}"; do
        if [[ ${{#words[@]}} == 0 || $line == [[:space:]]* ]]; then
            words+=("$word")
        else
            words[-1]+=$word
        fi
        line=${{line#"${{line%%[![:space:]]*}}"}}
        line=${{line#"$word"}}
    done
    local cur=${{words[-1]}} parameters=0
    # Values are taken as they stand, so only a walk from the left tells what comes next.
    for word in "${{words[@]:1:${{#words[@]}}-2}}"; do
        if ((${{#kinds[@]}})); then
            kinds=("${{kinds[@]:1}}")
        elif [[ -n $word && -n ${{values[$word]-}} ]]; then
            read -ra kinds <<<"${{values[$word]}}"
        elif [[ $word != [-+][!0-9]* ]]; then
            ((++parameters))
        fi
    done
    local kind=${{kinds[0]-}}
    if [[ -z $kind ]]; then
        if [[ $cur == [-+]* ]]; then
            mapfile -t COMPREPLY < <(compgen -W '{options}' -- "$cur")
            return
        elif [[ $cur == @* ]]; then
            mapfile -t COMPREPLY < <(compgen -P @ -f -- "${{cur#@}}")
            return
        fi
        case $parameters in
{parameters}
        esac
    fi
    case $kind in
    file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); compopt -o filenames ;;
    directory) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames ;;
    user) mapfile -t COMPREPLY < <(compgen -u -- "$cur") ;;
    group) mapfile -t COMPREPLY < <(compgen -g -- "$cur") ;;
    command) mapfile -t COMPREPLY < <(compgen -c -- "$cur") ;;
    host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur") ;;
    *,*) mapfile -t COMPREPLY < <(compgen -W "${{kind//,/ }}" -- "$cur") ;;
    *) COMPREPLY=() ;;
    esac
    # bash replaces what follows the last of its own word ends only.
    word=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=("${{COMPREPLY[@]#"${{cur%"${{word##*[:=]}}"}}"}}")
}}
complete -F {function} {names}
"""

_ZSH = """\
#compdef {names}
# zsh completion for {names}, made by completions/generate.py from the option tables.

# Of the options of a block one is enough.
local -A block=(
{blocks}
)
_arguments \\
{specifications}
"""

_ZSH_ACTIONS = {
    _FILE: "_files",
    _FOLDER: "_files -/",
    _USER: "_users",
    _GROUP: "_groups",
    _COMMAND: "_command_names -e",
    _HOST: "_hosts",
    _TEXT: " ",
}


def kind(value: Value | Parameter) -> str | tuple[str, ...]:
    """Return what can stand for a value: the words themselves, or the name of a kind."""
    if isinstance(value, Value) and value.kind == KEYWORD:
        return value.words
    return _KINDS.get(value.name, _TEXT)


def names(row: Option) -> tuple[str, ...]:
    """Return the names of an option, the short one first."""
    return (row.short, row.long) if row.short else (row.long,)


def bash(program: Program) -> str:
    """Return the completion for bash."""
    rows = tuple(program.rows())
    values = (
        f"        [{name}]='{' '.join(_word(kind(value)) for value in row.values)}'"
        for row in rows
        if row.values
        for name in names(row)
    )
    parameters = (
        f"        {'*' if parameter.repeated else index}) kind='{_word(kind(parameter))}' ;;"
        for index, parameter in enumerate(program.parameters)
    )
    return _BASH.format(
        function=f"_{program.names[0]}",
        names=" ".join(program.names),
        values="\n".join(values),
        options=" ".join(name for row in rows for name in names(row)),
        parameters="\n".join(parameters),
    )


def _word(kind: str | tuple[str, ...]) -> str:
    return kind if isinstance(kind, str) else ",".join(kind)


def zsh(program: Program) -> str:
    """Return the completion for zsh."""
    blocks: dict[str, list[str]] = {}
    for row in program.rows():
        if row.block:
            blocks.setdefault(row.block, []).extend(names(row))
    specifications = [_zsh_option(row) for row in program.rows()]
    for number, parameter in enumerate(program.parameters, 1):
        position = "*" if parameter.repeated else str(number)
        specifications.append(f"'{position}{_zsh_value(parameter)}'")
    return _ZSH.format(
        names=" ".join(program.names),
        blocks="\n".join(f"    {name} '({' '.join(block)})'" for name, block in blocks.items()),
        specifications=" \\\n".join(f"    {one}" for one in specifications),
    )


def _zsh_option(row: Option) -> str:
    """Return the specification of an option; one that is there hides itself and its block."""
    if row.repeatable:
        front = "'*'"
    elif row.block:
        front = f'"$block[{row.block}]"'
    else:
        front = f"'({' '.join(names(row))})'"
    own = ["'{}'".format(name.replace("=", r"\=")) for name in names(row)]
    both = f"{{{','.join(own)}}}" if len(own) > 1 else own[0]
    text = row.help.replace("[", r"\[").replace("]", r"\]").replace("'", r"'\''")
    return f"{front}{both}'[{text}]{''.join(map(_zsh_value, row.values))}'"


def _zsh_value(value: Value | Parameter) -> str:
    what = kind(value)
    action = _ZSH_ACTIONS[what] if isinstance(what, str) else f"({' '.join(what)})"
    return f":{value.name}:{action}"


def files() -> dict[Path, str]:
    """Return what each file is to hold."""
    made = {}
    for program in (RECEIVER, SENDER):
        name = program.names[0]
        made[HERE / f"{name}.bash"] = bash(program)
        made[HERE / f"_{name}"] = zsh(program)
    return made


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
