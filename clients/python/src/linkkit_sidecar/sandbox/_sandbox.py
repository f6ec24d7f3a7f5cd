"""A platform of this program's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from linkkit_sidecar._process import PrivateDirectory, Process
from linkkit_sidecar.models import Device, Endpoint, TlsSettings

from . import models as platform
from ._console import Console

DEFAULT_PRODUCT = "a1B2c3D4e5F"


class Sandbox(Console):
    """The platform on your desk: an emulator that this program starts, and that ends with it. No account, no network.

    For example::

        with Sandbox() as platform, Sidecar() as sidecar, sidecar.client() as client:
            made = platform.new_device()
            client.connect(made.device, credential=made.secret, endpoint=platform.endpoint, tls=platform.tls)

    It begins with one product, whose devices may register. All that it knows is in memory and gone at its end. It ends as a `Sidecar` does:
    at `close`, or when this program ends, however that ends.

    Args:
        product_key: The key of the product to begin with.
        state_dir: Where the certificate authority is kept, so that programs go on trusting it after a restart. None: nowhere.
        fixture: A YAML file with products and devices to begin with, in place of the one product; `product_key` and `product_secret` are
            then of no use.
        args: Further arguments of ``linkkit-sidecar sandbox``, such as ``["--strict", "--device-logins-per-minute", "-1"]``.
        log: Where its log goes: a path, an open file, or None, as with `Sidecar`.
        binary: The command. None: what LINKKIT_SIDECAR_BINARY names, or the one in the wheel, or the first on PATH.
        start_timeout: Seconds until it must be ready. Default 30.
        timeout: Seconds for each call of the console. Default 10.

    Raises:
        StartError: It did not start; the message has the last lines of its log.
        BinaryNotFoundError: There is no command linkkit-sidecar; the message says where it was looked for.
    """

    def __init__(
        self,
        *,
        product_key: str = DEFAULT_PRODUCT,
        state_dir: str | os.PathLike[str] | None = None,
        fixture: str | os.PathLike[str] | None = None,
        args: Sequence[str] = (),
        log: str | os.PathLike[str] | IO[Any] | None = None,
        binary: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
        timeout: float = 10.0,
    ) -> None:
        directory = PrivateDirectory()
        private = directory.path
        state = private / "state" if state_dir is None else Path(state_dir).absolute()
        command = ["sandbox", "--state-dir", str(state), "--control-address", f"unix://{private}/sandbox.sock"]
        for door in ("mqtt", "mqtts", "https"):
            command += [f"--{door}-address", "127.0.0.1:0"]
        if fixture is not None:
            command += ["--fixture", os.path.abspath(fixture)]
        self._process = Process("sandbox", directory, command, args, binary=binary, log=log, start_timeout=start_timeout, stop_timeout=10)
        super().__init__(self._process.ready["control"], timeout=timeout)
        self._product: platform.Product | None = None
        try:
            if fixture is None:
                self._product = self.create_product(product_key)
        except BaseException:
            self.close()
            raise

    @property
    def product_key(self) -> str:
        """The key of the product that it began with."""
        return self._first_product().product_key

    @property
    def product_secret(self) -> str:
        """The secret of the product that it began with, for `SidecarClient.register`."""
        return self._first_product().product_secret

    @property
    def endpoint(self) -> Endpoint:
        """Where devices connect, and register over MQTT."""
        return Endpoint(host="localhost", port=_port(self._process.ready["mqtts"]))

    @property
    def https_endpoint(self) -> Endpoint:
        """Where devices register over HTTPS, as older SDKs do."""
        return Endpoint(host="localhost", port=_port(self._process.ready["https"]))

    @property
    def tls(self) -> TlsSettings:
        """Whom devices must trust."""
        return TlsSettings(ca_pem=Path(self.ca_file).read_text(encoding="utf-8"))

    @property
    def ca_file(self) -> str:
        """The same as a PEM file: for `Sidecar`'s `ca_file`, say."""
        return str(self._process.ready["ca_file"])

    @property
    def control_address(self) -> str:
        """Where its console listens, for a `Console` in another process."""
        return str(self._process.ready["control"])

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        return self._process.pid

    def new_device(self, *, generate_secret: bool = True) -> platform.CreatedDevice:
        """Make a device of the first product, with a name that no other has.

        Args:
            generate_secret: Give it a secret. False: it has none until it registers.
        """
        with self._names_lock:
            self._names += 1
            name = f"dev-{self._names:03}"
        return self.create_device(Device(self.product_key, name), generate_secret=generate_secret)

    def close(self) -> None:
        """End it; the links of devices are lost by that. Close sidecars first."""
        if self._process.forked:
            return
        super().close()
        self._process.close()

    def __repr__(self) -> str:
        return f"Sandbox({self.control_address!r})"

    def _first_product(self) -> platform.Product:
        if self._product is None:
            raise ValueError("this sandbox began with a fixture, which names its products")
        return self._product


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
