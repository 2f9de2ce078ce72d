"""The command that serves the terminal UI to browsers."""

from __future__ import annotations

import ipaddress

import click

from serving_ctl.cli.face import Face, TuiOptions
from serving_ctl.cli.session import print_data, run_async, say
from serving_ctl.errors import Exit


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.pass_context
def web(context: click.Context, port: int, host: str) -> int:
    """Serve the terminal UI in a browser, until Ctrl-C."""
    face: Face | None = context.meta.get(Face.__name__)
    if face is None:
        raise click.UsageError("the terminal UI opens with `tfserve-tui web` only.")
    given = context.find_root().params
    options = TuiOptions(**{name: given[name] for name in TuiOptions.__struct_fields__})

    def opened(address: str) -> None:
        if not _is_loopback(host):
            say(f"! {host}: anybody who reaches this address can start processes here, with your rights.")
        say("In a browser, until Ctrl-C:")
        print_data(address)

    run_async(face.serve_web(options, host, port, opened))
    return Exit.DONE


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
