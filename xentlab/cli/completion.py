"""`xentlab completion`: what a shell offers behind what is typed; nothing slow is imported here."""

from __future__ import annotations

from collections.abc import Sequence

from xentlab.cli.commands import COMMANDS
from xentlab.cli.contract import Argument, Command
from xentlab.config.words import KINDS, choices_by_group, keys_of

_SCRIPTS = {
    "bash": """_xentlab() {
  local line=${COMP_LINE:0:COMP_POINT} IFS=$'\\n'
  COMPREPLY=($(xentlab completion bash --line "$line" 2>/dev/null))
  local last=${line##* }
  [[ $last == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"${last%=*}="}")
  [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -F _xentlab xentlab
""",
    "zsh": """#compdef xentlab
_xentlab() {
  local -a found
  found=("${(@f)$(xentlab completion zsh --line "$LBUFFER" 2>/dev/null)}")
  compadd -S '' -- $found
}
compdef _xentlab xentlab
""",
    "fish": """complete -c xentlab -f -a '(xentlab completion fish --line (commandline -cp | string collect))'
""",
}


def completion(shell: str, line: str | None) -> int:
    """Print what a shell needs, or what may follow a line."""
    print(_SCRIPTS[shell] if line is None else "\n".join(offers(line)), end="" if line is None else "\n")
    return 0


def offers(line: str) -> list[str]:
    """The words that may stand where the line ends."""
    words = line.split(" ")[1:] or [""]
    last, before = words[-1], [word for word in words[:-1] if word]
    return [word for word in _all(before, last) if word.startswith(last)]


def _all(before: Sequence[str], last: str) -> list[str]:
    commands: tuple[Command, ...] = COMMANDS
    while before and (found := next((c for c in commands if c.name == before[0]), None)) is not None:
        before, commands = before[1:], found.subcommands
        if not commands:
            return _of_command(found.name, found.arguments, before, last)
    return [command.name for command in commands]


def _of_command(name: str, arguments: Sequence[Argument] | None, before: Sequence[str], last: str) -> list[str]:
    known = choices_by_group()
    if arguments is None:
        key, equals, _ = last.partition("=")
        if equals:
            return [f"{key}={word}" for word in known.get(key, ())]
        flags = ["-m"] if name == "train" else ["--dry-run", "--fresh", "--own"]
        return [*(f"{key}=" for key in keys_of(name, before)), *flags]
    if name in ("check-loss", "plot-loss"):
        return known["loss"]
    if name == "list":
        return known[KINDS[before[0]]] if before and before[0] in KINDS else [*KINDS]
    return [flag for argument in arguments for flag in argument.flags if flag.startswith("--")]
