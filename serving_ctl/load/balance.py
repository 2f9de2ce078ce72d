"""Several addresses under one load: each client stays with its address, and moves on from one that takes no connection.

A load of one address that cannot change never comes here: it has plain clients.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from serving_ctl.errors import LoadError
from serving_ctl.load.client import Client, Core, Destination
from serving_ctl.load.wire import Target
from serving_ctl.load.work import Fault

_TOOK_NO_CONNECTION = {Fault.REFUSED, Fault.CONNECT_FAILED, Fault.CONNECT_TIMEOUT}


def names(targets: Sequence[Target]) -> list[str]:
    """What each address is called in counts and errors: host and port, with the path where those are not enough.

    Raises LoadError when the addresses do not all speak the same of HTTP and HTTPS.
    """
    if len({target.tls for target in targets}) > 1:
        raise LoadError("addresses that share a load are all http:// or all https://")
    short = [target.authority for target in targets]
    return short if len(set(short)) == len(short) else [target.authority + target.path for target in targets]


class Address(Destination):
    """One of several destinations: the requests as this address gets them, by those of the first one."""

    __slots__ = ("name", "sent", "words")

    def __init__(self, plain: Destination, name: str, words: dict[bytes, bytes]) -> None:
        super().__init__(plain.target, plain.host, plain.memory)
        self.name, self.words = name, words
        self.sent = 0
        """Requests sent to it since ``Balance.count_anew``."""


class Balance:
    """Who goes where: clients take the addresses in turn."""

    def __init__(self, core: Core, addresses: Iterable[Address]) -> None:
        self._core = core
        self._counts: dict[str, int] = {}
        self.use(addresses)

    def use(self, addresses: Iterable[Address]) -> None:
        """From now on these; what was sent to the others stays in the counts."""
        self._retire()
        self.addresses = list(addresses)
        self._core.memories = [address.memory for address in self.addresses]
        self._turn = itertools.cycle(self.addresses)

    def next(self) -> Address:
        """The address whose turn it is."""
        return next(self._turn)

    def after(self, address: Address) -> Address:
        """The one behind ``address`` in the list."""
        places = {one: place for place, one in enumerate(self.addresses)}
        return self.addresses[(places.get(address, -1) + 1) % len(places)]

    def client(self) -> Client:
        """One more client."""
        return BalancedClient(self._core, self)

    def redirect(self, clients: Collection[Client]) -> None:
        """After a change of addresses: clients of one that is gone, and no others than are needed for equal shares,
        move on with their next request."""
        at = {address: [client for client in clients if client.to is address] for address in self.addresses}
        movers = [client for client in clients if client.to not in at]
        while True:
            fewest, most = (pick(at, key=lambda address: len(at[address])) for pick in (min, max))
            if not movers and len(at[most]) - len(at[fewest]) > 1:
                movers.append(at[most].pop())
            if not movers:
                return
            client = movers.pop()
            client.to = fewest
            at[fewest].append(client)

    def count_anew(self) -> None:
        """Forget what was sent so far."""
        self._retire()
        self._counts.clear()

    def counts(self) -> dict[str, int]:
        """Requests sent, by name; an address that got none is named too."""
        self._retire()
        return dict(self._counts)

    def _retire(self) -> None:
        for address in getattr(self, "addresses", ()):
            self._counts[address.name] = self._counts.get(address.name, 0) + address.sent
            address.sent = 0


class BalancedClient(Client):
    """A client with an address of its own. Its failures name it; one that takes no connection is counted and left."""

    __slots__ = ("_at", "_balance", "_plain")
    to: Address

    def __init__(self, core: Core, balance: Balance) -> None:
        super().__init__(core, balance.next())
        self._balance = balance
        self._at = self.to
        """Where the request in flight went; ``to`` may be another one by then."""
        self._plain = b""

    def send(self, request: bytes) -> None:
        """Send ``request`` as this client's address wants it."""
        if self._at is not self.to:
            self.drop()
        self._plain = request
        if self._connection is not None:
            self._at.sent += 1
        super().send(self.to.words[request])

    def connect(self) -> None:
        """Open a connection to the address of now, which may have changed while this client waited for its turn."""
        self._at = self.to
        self._request = self._at.words[self._plain]
        super().connect()
        if self.since_ns:
            self._at.sent += 1

    def failed(self, kind: Fault, example: str, since_ns: int) -> None:
        """Count it, rest, and go on: elsewhere when the address takes no connection."""
        super().failed(kind, example, since_ns)
        if kind in _TOOK_NO_CONNECTION and self._at is self.to:
            self.to = self._balance.after(self.to)

    def count_error(self, kind: Fault, example: str, spent_ns: int) -> None:
        """An error's example begins with the address."""
        super().count_error(kind, f"{self._at.name}: {example}", spent_ns)
