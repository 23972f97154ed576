"""Leads names to the test's server, for programs that know nothing of it: `DOOR_ROUTES` has host=address pairs."""

import os

import urllib3.util.connection as connection

_connect = connection.create_connection
_routes = dict(pair.split("=") for pair in os.environ["DOOR_ROUTES"].split())


def _led(address, *arguments, **more):
    host, port = address
    if host in _routes:
        host, port = _routes[host].rsplit(":", 1)
    return _connect((host, int(port)), *arguments, **more)


connection.create_connection = _led
