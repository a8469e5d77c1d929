"""The commands as plain values: what the man pages and the completions are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

import click

from sipcap.cli.main import cli

PROGRAM = "sipcap"
_FILE_WORDS = ("FILE", "PATH", "CAPTURE")
_FOLDER_WORDS = ("DIR", "FOLDER")


@dataclass(frozen=True)
class Value:
    """What may stand where a value is expected: one of *choices*, or a *kind* (file, folder, text)."""

    kind: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One option: *value* is None for a flag; *optional* if its value may be left out."""

    names: tuple[str, ...]
    long_name: str
    metavar: str
    value: Value | None
    optional: bool
    repeatable: bool
    help: str
    envvars: tuple[str, ...]


@dataclass(frozen=True)
class Argument:
    """One operand; *many* if it may be repeated."""

    metavar: str
    value: Value
    many: bool
    help: str


@dataclass(frozen=True)
class Command:
    """One command with everything below it; *path* is empty for ``sipcap`` itself."""

    path: tuple[str, ...]
    usage: tuple[str, ...]
    summary: str
    help: str
    epilog: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]

    def walk(self) -> Iterator[Command]:
        """This command and all below it, depth first."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_tree(program: click.Command = cli) -> Command:
    """Read the whole program; lazily loaded commands are imported, hidden ones are left out."""
    return _command(program, click.Context(program, info_name=PROGRAM, **program.context_settings), ())


def _command(command: click.Command, ctx: click.Context, path: tuple[str, ...]) -> Command:
    params = command.get_params(ctx)
    return Command(
        path=path,
        usage=tuple(command.collect_usage_pieces(ctx)),
        summary=command.get_short_help_str(limit=200).rstrip("."),
        help=inspect.cleandoc((command.help or "").partition("\f")[0]),
        epilog=inspect.cleandoc(command.epilog or ""),
        options=tuple(_option(p, ctx) for p in params if isinstance(p, click.Option) and not p.hidden),
        arguments=tuple(_argument(p, ctx) for p in params if isinstance(p, click.Argument)),
        commands=tuple(_subcommands(command, ctx, path)),
    )


def _subcommands(command: click.Command, ctx: click.Context, path: tuple[str, ...]) -> Iterator[Command]:
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(ctx):
        child = command.get_command(ctx, name)
        if child is not None and not child.hidden:
            child_ctx = click.Context(child, info_name=name, parent=ctx, **child.context_settings)
            yield _command(child, child_ctx, (*path, name))


def _option(option: click.Option, ctx: click.Context) -> Option:
    flag = option.is_flag or option.count
    record = option.get_help_record(ctx)
    return Option(
        names=(*option.opts, *option.secondary_opts),
        long_name=max(option.opts, key=len),
        metavar="" if flag else _bare(option.make_metavar(ctx)),
        value=None if flag else _value(option, ctx),
        optional=not flag and _has_flag_value(option),
        repeatable=option.multiple or option.count,
        help=record[1] if record else "",
        envvars=tuple(_envvars(option, ctx)),
    )


def _bare(metavar: str) -> str:
    """A metavar without the brackets around all of it: ``[A|B]`` is a choice, ``A[|A]`` is not."""
    return metavar[1:-1] if metavar.startswith("[") and metavar.endswith("]") else metavar


def _has_flag_value(option: click.Option) -> bool:
    """Whether the option may stand without its value, as in ``--bpf [EXPR]``."""
    return not option.is_flag and bool(option.to_info_dict()["flag_value"])


def _argument(argument: click.Argument, ctx: click.Context) -> Argument:
    return Argument(
        metavar=argument.make_metavar(ctx),
        value=_value(argument, ctx),
        many=argument.nargs != 1,
        help=argument.help or "",
    )


def _value(param: click.Parameter, ctx: click.Context) -> Value:
    kind = param.type
    if isinstance(kind, click.Choice):
        return Value("choice", tuple(str(choice) for choice in kind.choices))
    if isinstance(kind, click.Path) and not kind.file_okay:
        return Value("folder")
    word = param.make_metavar(ctx).strip("[].")
    if isinstance(kind, (click.Path, click.File)) or word in _FILE_WORDS:
        return Value("file")
    return Value("folder" if word in _FOLDER_WORDS else "text")


def _envvars(option: click.Option, ctx: click.Context) -> Iterator[str]:
    if option.envvar is not None:
        yield from [option.envvar] if isinstance(option.envvar, str) else option.envvar
    if option.expose_value and option.allow_from_autoenv and ctx.auto_envvar_prefix is not None and option.name:
        yield f"{ctx.auto_envvar_prefix}_{option.name.upper()}"
