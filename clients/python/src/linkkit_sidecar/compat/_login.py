"""What a device logs in with, from the vendor's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

from linkkit_sidecar.models import Credential, Device, DeviceSecret, DeviceToken, MqttCredential, Registration, RegistrationMethod

STORED = "stored-by-linkkit-sidecar"
"""What a program gets, and may give, in place of a secret that the sidecar keeps and does not tell."""

METHODS = {
    "register": RegistrationMethod.PRE_REGISTERED,
    "regnwl": RegistrationMethod.REGISTRATION_FREE,
    "": RegistrationMethod.HTTPS_LEGACY,
}


@dataclass(slots=True)
class Login:
    """The vendor's parameters of a login. Of what is given the device's secret comes first, then a ready-made login, then registration."""

    device: Device
    device_secret: str | None = field(repr=False)
    auth_type: str | None
    username: str | None
    client_id: str | None
    password: str | None = field(repr=False)
    product_secret: str | None = field(repr=False)

    @property
    def ready_made(self) -> bool:
        return bool(self.username and self.client_id and self.password)

    @property
    def registers(self) -> bool:
        """Whether the device must be registered before it can log in."""
        return not self.device_secret and not self.ready_made

    @property
    def method(self) -> RegistrationMethod | None:
        """How; None when auth_type names no way."""
        return METHODS.get(self.auth_type or "")

    @property
    def system_topics(self) -> bool:
        """Whether the platform sends system topics unasked to this login. A ready-made one says so itself."""
        return not isinstance(self.credential(), MqttCredential) or "_ss" in _parameters(self.client_id or "")

    def credential(self) -> Credential | None:
        """The sidecar's credential; None is the stored one."""
        if self.device_secret:
            return None if self.device_secret == STORED else DeviceSecret(self.device_secret)
        if not self.ready_made or self.password == STORED:
            return None
        client_id, username, password = self.client_id or "", self.username or "", self.password or ""
        if _parameters(client_id).get("authType") == "connwl" and username == f"{self.device.device_name}&{self.device.product_key}":
            return DeviceToken(client_id.partition("|")[0], password)
        return MqttCredential(client_id, username, password)


def _parameters(client_id: str) -> dict[str, str]:
    """The parameters between the bars of an MQTT client id."""
    pairs = client_id.partition("|")[2].rpartition("|")[0].split(",")
    return {name: value for name, equals, value in (pair.partition("=") for pair in pairs) if equals}


def token_login(device: Device, registration: Registration | None) -> tuple[str, str, str]:
    """Client id, user name and password as the vendor hands them to a program after a registration-free registration; None: the stored one."""
    token = registration.device_token if registration is not None else None
    client_id, password = (token.client_id, token.token) if token is not None else (STORED, STORED)
    username = f"{device.device_name}&{device.product_key}"
    return f"{client_id}|authType=connwl,securemode=-2,_ss=1,ext=3,lan=Python,_v=1.2.13|", username, password
