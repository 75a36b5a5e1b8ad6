"""Scripts that complete commands, options and their values in a shell, derived from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from cartoframes_lite.cli.parser import make_parser

_BASH = """\
# Completion of cartoframes-lite for bash: source this file, or save it in bash-completion's folder.
_cartoframes_lite() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} words=""
    if [ "$COMP_CWORD" = 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $previous" in
{values}
        *)
            case "${{COMP_WORDS[1]}}" in
{options}
            esac
            case $word in -*) ;; *) COMPREPLY=($(compgen -f -- "$word")) ;; esac
            ;;
        esac
    fi
    COMPREPLY+=($(compgen -W "$words" -- "$word"))
}}
complete -o filenames -F _cartoframes_lite cartoframes-lite
"""


def script(shell: str) -> str:
    """Return the script for "bash", "zsh" or "fish"."""
    if shell == "fish":
        return "\n".join(_fish_lines()) + "\n"
    bash = _bash()
    return bash if shell == "bash" else f"autoload -U +X compinit bashcompinit && compinit && bashcompinit\n{bash}"


def _commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands by name."""
    (action,) = (found for found in make_parser()._actions if isinstance(found, argparse._SubParsersAction))
    return dict(action.choices)


def _choices(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.Action, list[str]]]:
    """Yield the arguments of a command, each with its values, if these are known."""
    for action in parser._actions:
        yield action, list(map(str, action.choices or ()))


def _bash() -> str:
    values, options = [], []
    for name, parser in _commands().items():
        words: list[str] = []
        for action, choices in _choices(parser):
            words += [*action.option_strings, *([] if action.option_strings else choices)]
            if action.option_strings and choices:
                patterns = " | ".join(f'"{name} {option}"' for option in action.option_strings)
                values.append(f'        {patterns}) words="{" ".join(choices)}" ;;')
        options.append(f'            {name}) words="{" ".join(words)}" ;;')
    return _BASH.format(commands=" ".join(_commands()), values="\n".join(values), options="\n".join(options))


def _fish_lines() -> Iterator[str]:
    yield "# Completion of cartoframes-lite for fish: save as ~/.config/fish/completions/cartoframes-lite.fish"
    for name, parser in _commands().items():
        yield f"complete -c cartoframes-lite -n __fish_use_subcommand -f -a {name}"
        condition = f"complete -c cartoframes-lite -n '__fish_seen_subcommand_from {name}'"
        for action, choices in _choices(parser):
            flags = [
                f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                for option in action.option_strings
            ]
            values = f" -x -a '{' '.join(choices)}'" if choices else " -r" * (action.nargs != 0 and bool(flags))
            if flags or choices:
                yield " ".join([condition, *flags]) + values
