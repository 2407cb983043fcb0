"""`rig completion SHELL`: the script that makes a shell complete rig's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
BEGIN_ZSH = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  rig completion bash >> ~/.bashrc
    zsh:   rig completion zsh >> ~/.zshrc
    fish:  rig completion fish > ~/.config/fish/completions/rig.fish
    """
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"no completion for {shell}; there is one for {', '.join(SHELLS)}")
    script = made(ctx.find_root().command, {}, "rig", "_RIG_COMPLETE").source()
    if shell == "zsh":  # a .zshrc of one's own may not have begun its completion
        first, end, rest = script.partition("\n")
        script = f"{first}{end}{BEGIN_ZSH}{rest}"
    click.echo(script)
