"""Where a service can be asked: its control sockets, and the page of its metrics, as its settings have them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from sipcap.config.settings import Settings
from sipcap.errors import CannotStart
from sipcap.service.control.places import SYSTEM_FOLDER, place_to_serve
from sipcap.service.control.server import ControlOptions, ControlServer
from sipcap.service.controller import Controller

_LOGGER = logging.getLogger("sipcap")


def open_control(settings: Settings, controller: Controller) -> ControlServer:
    """Make the control sockets; that nobody asked for one must not keep a second service from starting.

    Raises:
        CannotStart: one that the settings name cannot be had.
    """
    folder = Path(SYSTEM_FOLDER)
    was_there = folder.is_dir()
    options = _options_of(settings)
    control = ControlServer(options, controller)
    if not was_there and folder.is_dir():
        control.made_folder = folder
    try:
        control.open()
    except CannotStart as error:
        # With that socket made, something else is not to be had, which the settings name.
        if settings.control_socket is not None or options.control_socket is None or control.places:
            raise
        _LOGGER.warning("%s; going on without a control socket", error)
        control = ControlServer(replace(options, control_socket=None), controller)
        control.open()
    return control


def _options_of(settings: Settings) -> ControlOptions:
    """Where the service can be asked; without a word about it at the usual place, if that is possible."""
    socket = settings.control_socket
    return ControlOptions(
        str(socket) if socket is not None else _usual_place(),
        settings.control_group,
        None if settings.binrpc_socket is None else str(settings.binrpc_socket),
        None if settings.rpc_fifo is None else str(settings.rpc_fifo),
        settings.metrics_listen,
    )


def _usual_place() -> str | None:
    place = place_to_serve()
    if place is None:
        _LOGGER.info(
            "no control socket: neither /run/sipcap nor XDG_RUNTIME_DIR can have it, and control_socket is not set"
        )
    return place
