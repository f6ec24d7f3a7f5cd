"""A device by the vendor's API alone, so it is one on the vendor's SDK and, unchanged, on linkkit_sidecar.run."""

from pathlib import Path

from linkkit import linkkit


def device(p):
    """Make the one that the parameters name, configured and not connected."""
    host, _, port = p["broker"].partition(":")
    kit = linkkit.LinkKit(
        host_name=host, product_key=p["product_key"], device_name=p["device_name"], device_secret="",
        client_id=p["client_id"], username=p["username"], password=p["password"],
    )
    kit.config_mqtt(port=int(port), cadata=Path(p["ca_file"]).read_text(), endpoint=host)
    return kit
