"""The vendor's options of a link, and the sidecar's settings that they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linkkit_sidecar.models import Endpoint, MqttProtocol, MqttSettings, ReconnectSettings, TlsSettings

_LOCAL = ("127.0.0.1", "localhost")


@dataclass(slots=True)
class MqttOptions:
    """What `LinkKit.config_mqtt` sets; the vendor's names, ranges and defaults."""

    port: int = 8883
    protocol: str = "MQTTv311"
    transport: str = "TCP"
    secure: str = "TLS"
    keep_alive: int = 60
    clean_session: bool = True
    max_inflight_message: int = 20
    max_queued_message: int = 40
    auto_reconnect_min_sec: int = 1
    auto_reconnect_max_sec: int = 60

    def check(self) -> None:
        """Raise ValueError for what is out of range."""
        for wrong, text in (
            (not 1 <= self.port <= 65535, f"port {self.port}: 1 to 65535"),
            (self.protocol not in ("MQTTv311", "MQTTv31"), f"protocol {self.protocol!r}: 'MQTTv311' or 'MQTTv31'"),
            (self.transport != "TCP", f"transport {self.transport!r}: 'TCP' is all there is"),
            (self.secure not in ("TLS", ""), f"secure {self.secure!r}: 'TLS', or '' for plain TCP"),
            (not 30 <= self.keep_alive <= 1200, f"keep_alive {self.keep_alive}: 30 to 1200 seconds"),
            (self.clean_session is not True and self.clean_session is not False, f"clean_session {self.clean_session!r}: True or False"),
            (self.max_queued_message < 0, f"max_queued_message {self.max_queued_message}: 0 or more"),
            (self.max_inflight_message < 0, f"max_inflight_message {self.max_inflight_message}: 0 or more"),
            (not 1 <= self.auto_reconnect_min_sec <= 7200, f"auto_reconnect_min_sec {self.auto_reconnect_min_sec}: 1 to 7200"),
            (not 1 <= self.auto_reconnect_max_sec <= 7200, f"auto_reconnect_max_sec {self.auto_reconnect_max_sec}: 1 to 7200"),
            (self.auto_reconnect_min_sec > self.auto_reconnect_max_sec, "auto_reconnect_min_sec is greater than auto_reconnect_max_sec"),
        ):
            if wrong:
                raise ValueError(text)

    def mqtt(self) -> MqttSettings:
        """The sidecar's settings of MQTT. max_queued_message is kept to here, where its excess can be told at once."""
        return MqttSettings(
            keep_alive=self.keep_alive,
            clean_session=self.clean_session,
            protocol=MqttProtocol.MQTT_3_1_1 if self.protocol == "MQTTv311" else MqttProtocol.MQTT_3_1,
            max_inflight=min(self.max_inflight_message or 65535, 65535),
        )

    def reconnect(self) -> ReconnectSettings:
        """The sidecar's bounds of the wait between attempts."""
        return ReconnectSettings(self.auto_reconnect_min_sec, self.auto_reconnect_max_sec)


@dataclass(slots=True)
class Place:
    """Where the platform is, as the vendor's parameters say it."""

    host_name: str
    product_key: str
    instance_id: str | None
    endpoint: str | None = None
    cadata: str | None = None
    check_hostname: bool = True

    def host(self) -> str:
        """The host that is dialled."""
        if self.endpoint:
            return self.endpoint
        if self.host_name in _LOCAL:
            return self.host_name
        if self.instance_id:
            return f"{self.instance_id}.mqtt.iothub.aliyuncs.com"
        return f"{self.product_key}.iot-as-mqtt.{self.host_name}.aliyuncs.com"

    def arguments(self, options: MqttOptions) -> dict[str, Any]:
        """The arguments of the client's connect() and register() that say where, and whom to trust."""
        plain = options.secure == ""
        dial_address = ""
        if self.endpoint or self.host_name in _LOCAL:
            host = self.host()
            if host == "127.0.0.1" and not plain and self.check_hostname:
                host, dial_address = "localhost", "127.0.0.1"  # a certificate's name can be verified, an address is none
            endpoint = Endpoint(host=host, port=options.port)
        elif self.instance_id:
            endpoint = Endpoint(instance_id=self.instance_id, port=options.port)
        else:
            endpoint = Endpoint(region=self.host_name, port=options.port)
        tls = TlsSettings(plain_tcp=True) if plain else TlsSettings(self.cadata or "", skip_hostname_verification=not self.check_hostname)
        return {"endpoint": endpoint, "dial_address": dial_address, "tls": tls}

    def registration(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The same for a registration over HTTPS, whose server has the host name's region, whatever the endpoint of MQTT is."""
        if self.host_name in _LOCAL:
            return arguments
        return {"endpoint": Endpoint(region=self.host_name), "tls": TlsSettings(self.cadata or "")}
